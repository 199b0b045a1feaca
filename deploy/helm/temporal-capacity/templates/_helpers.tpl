{{- define "capacity.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "capacity.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "capacity.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "capacity.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "capacity.selector" -}}
app.kubernetes.io/name: {{ include "capacity.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "capacity.labels" -}}
{{ include "capacity.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "capacity.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end }}

{{- define "capacity.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "capacity.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{- define "capacity.secret" -}}
{{ default (include "capacity.fullname" .) .Values.secret.existing }}
{{- end }}

{{/* Names of the settings in the Secret, as a comma-separated list. */}}
{{- define "capacity.secretKeys" -}}
{{- if .Values.secret.existing -}}
{{ join "," .Values.secret.keys }}
{{- else -}}
{{ keys .Values.secret.values | sortAlpha | join "," }}
{{- end -}}
{{- end }}

{{/* Port of the trace collector, if one is configured. */}}
{{- define "capacity.collectorPort" -}}
{{- with default .Values.settings.otel_exporter_otlp_endpoint .Values.settings.otel_exporter_otlp_traces_endpoint -}}
{{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" (urlParse .).host) -}}
{{- default (ternary "443" "80" (hasPrefix "https:" .)) $port -}}
{{- end -}}
{{- end }}

{{/* Rejects values that are missing or contradict each other, with the remedy. A schema cannot express these rules. */}}
{{- define "capacity.validate" -}}
{{- $keys := splitList "," (include "capacity.secretKeys" .) -}}
{{- if not .Values.settings.temporal_address -}}
{{- fail "settings.temporal_address is not set. Set it to the host and port of the Temporal service that the autopilot runs on, such as capacity.a1b2c.tmprl.cloud:7233" -}}
{{- end -}}
{{- if not .Values.settings.temporal_namespace -}}
{{- fail "settings.temporal_namespace is not set. Set it to the Temporal namespace that the autopilot runs in, such as capacity.a1b2c" -}}
{{- end -}}
{{- if and .Values.secret.existing .Values.secret.values -}}
{{- fail "secret.existing and secret.values are both set. Remove secret.values to use the existing Secret, or secret.existing to create one" -}}
{{- end -}}
{{- if not (or .Values.secret.existing .Values.secret.values) -}}
{{- fail "no API keys. Set secret.existing to the name of a Secret with TEMPORAL_CLOUD_OPS_API_KEY and TEMPORAL_CLOUD_METRICS_API_KEY, or set both under secret.values" -}}
{{- end -}}
{{- if not (has "TEMPORAL_CLOUD_OPS_API_KEY" $keys) -}}
{{- fail "the Secret lacks TEMPORAL_CLOUD_OPS_API_KEY. Add it to secret.keys (existing Secret) or to secret.values" -}}
{{- end -}}
{{- if and (ne (default "temporal" .Values.settings.metrics_source) "prometheus") (not (has "TEMPORAL_CLOUD_METRICS_API_KEY" $keys)) -}}
{{- fail "the Secret lacks TEMPORAL_CLOUD_METRICS_API_KEY. Add it to secret.keys (existing Secret) or to secret.values, or set settings.metrics_source to prometheus" -}}
{{- end -}}
{{- if and .Values.clientCertificate.existingSecret (has "TEMPORAL_API_KEY" $keys) -}}
{{- fail "clientCertificate.existingSecret and TEMPORAL_API_KEY are both set. Use one of them to authenticate to Temporal: clear clientCertificate.existingSecret, or remove TEMPORAL_API_KEY from secret.keys or secret.values" -}}
{{- end -}}
{{- if .Values.ledger.sqlite.enabled -}}
{{- if gt (int .Values.replicaCount) 1 -}}
{{- fail (printf "ledger.sqlite works with one worker, and replicaCount is %d. Set replicaCount to 1, or use PostgreSQL: put LEDGER_URL into the Secret and disable ledger.sqlite" (int .Values.replicaCount)) -}}
{{- end -}}
{{- if has "LEDGER_URL" $keys -}}
{{- fail "ledger.sqlite.enabled is true and the Secret has LEDGER_URL. Use one ledger: disable ledger.sqlite, or remove LEDGER_URL" -}}
{{- end -}}
{{- end -}}
{{- if and (eq (default "threshold" .Values.settings.policy) "break-even") (not .Values.ledger.sqlite.enabled) (not (has "LEDGER_URL" $keys)) (ne (default "temporal" .Values.settings.metrics_source) "prometheus") -}}
{{- fail "settings.policy is break-even, which needs a ledger. Put LEDGER_URL into the Secret, or set ledger.sqlite.enabled, or set settings.metrics_source to prometheus" -}}
{{- end -}}
{{- end }}

{{/*
Secrets that are missing in the cluster, with the remedy. `helm template` and Argo CD see no cluster and skip this, as does an install
that creates the namespace.
*/}}
{{- define "capacity.secretsExist" -}}
{{- $namespace := .Release.Namespace -}}
{{- if lookup "v1" "ServiceAccount" $namespace "default" -}}
{{- with .Values.secret.existing -}}
{{- $found := lookup "v1" "Secret" $namespace . -}}
{{- $keys := $.Values.secret.keys -}}
{{- if not $found -}}
{{- fail (printf "the Secret %s does not exist in the namespace %s. Create it: kubectl create secret generic %s --namespace %s --from-file=%s" . $namespace . $namespace (join " --from-file=" $keys)) -}}
{{- end -}}
{{- range $key := $keys -}}
{{- if not (hasKey (default dict $found.data) $key) -}}
{{- fail (printf "the Secret %s in the namespace %s lacks %s. Add it to the Secret, or remove it from secret.keys" $.Values.secret.existing $namespace $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.clientCertificate.existingSecret -}}
{{- if not (lookup "v1" "Secret" $namespace .) -}}
{{- fail (printf "the Secret %s does not exist in the namespace %s. Create it: kubectl create secret tls %s --namespace %s --cert=client.pem --key=client.key" . $namespace . $namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "capacity.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "capacity.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "capacity.env" -}}
- { name: TEMPORAL_CAPACITY_CONFIG, value: /etc/capacity/capacity.toml }
{{- range splitList "," (include "capacity.secretKeys" .) }}
- { name: {{ . }}_FILE, value: /run/secrets/capacity/{{ . }} }
{{- end }}
{{- if .Values.clientCertificate.existingSecret }}
- { name: TEMPORAL_CERT_PATH, value: /run/secrets/certificate/tls.crt }
- { name: TEMPORAL_KEY_PATH, value: /run/secrets/certificate/tls.key }
{{- end }}
{{- if .Values.ledger.sqlite.enabled }}
- { name: LEDGER_URL, value: /var/lib/capacity/ledger.db }
{{- end }}
{{- end }}

{{- define "capacity.mounts" -}}
- { name: config, mountPath: /etc/capacity, readOnly: true }
- { name: secrets, mountPath: /run/secrets/capacity, readOnly: true }
{{- if .Values.clientCertificate.existingSecret }}
- { name: certificate, mountPath: /run/secrets/certificate, readOnly: true }
{{- end }}
- { name: tmp, mountPath: /tmp }
{{- end }}

{{- define "capacity.volumes" -}}
- name: config
  configMap: { name: {{ include "capacity.fullname" . }} }
- name: secrets
  secret: { secretName: {{ include "capacity.secret" . }}, defaultMode: 0440 }
{{- if .Values.clientCertificate.existingSecret }}
- name: certificate
  secret: { secretName: {{ .Values.clientCertificate.existingSecret }}, defaultMode: 0440 }
{{- end }}
- name: tmp
  emptyDir: { sizeLimit: 64Mi }
{{- end }}
