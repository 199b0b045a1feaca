{{- define "stack.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "stack.selector" -}}
app.kubernetes.io/name: temporal-stack
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "stack.labels" -}}
{{ include "stack.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "stack.server" -}}
{{ .Values.images.registry }}/temporal-server:{{ default .Chart.AppVersion .Values.images.serverTag }}
{{- end }}

{{/* temporal-sql-tool and temporal-stack. */}}
{{- define "stack.tools" -}}
{{ .Values.images.registry }}/temporal-tools:{{ default .Chart.AppVersion .Values.images.serverTag }}
{{- end }}

{{- define "stack.databaseHost" -}}
{{- if .Values.postgresql.enabled -}}
{{ include "stack.fullname" . }}-postgresql
{{- else -}}
{{ .Values.database.host }}
{{- end -}}
{{- end }}

{{/* Maximum number of connections that the roles open to PgBouncer, including during a rolling update. */}}
{{- define "stack.clients" -}}
{{- $processes := 0 -}}
{{- range .Values.server.replicas -}}{{- $processes = add $processes . 1 -}}{{- end -}}
{{ add (mul $processes 2 (int .Values.database.maxConns)) 100 }}
{{- end }}

{{- define "stack.tlsSecret" -}}
{{ default (printf "%s-tls" (include "stack.fullname" .)) .Values.tls.existingSecret }}
{{- end }}

{{- define "stack.frontend" -}}
{{ include "stack.fullname" . }}-frontend:7233
{{- end }}

{{/* Ports and health services of the roles, in start order. */}}
{{- define "stack.roles" -}}
history: { grpc: 7234, membership: 6934, service: temporal.api.workflowservice.v1.HistoryService }
matching: { grpc: 7235, membership: 6935, service: temporal.api.workflowservice.v1.MatchingService }
frontend: { grpc: 7233, membership: 6933, service: temporal.api.workflowservice.v1.WorkflowService }
worker: { grpc: 7239, membership: 6939 }
{{- end }}

{{/* Rejects values that are missing or contradict each other, with the remedy. A schema cannot express these rules. */}}
{{- define "stack.validate" -}}
{{- if and .Values.postgresql.enabled .Values.database.host -}}
{{- fail "postgresql.enabled and database.host are both set. Clear database.host to use the chart's PostgreSQL, or set postgresql.enabled to false" -}}
{{- end -}}
{{- if not (or .Values.postgresql.enabled .Values.database.host) -}}
{{- fail "no database. Set database.host to the host of a PostgreSQL server, or postgresql.enabled to true for a trial" -}}
{{- end -}}
{{- if and .Values.postgresql.enabled (ne .Values.database.tls.mode "disable") -}}
{{- fail "the chart's PostgreSQL has no TLS. Set database.tls.mode to disable, or use an external PostgreSQL" -}}
{{- end -}}
{{- if and (eq .Values.database.tls.mode "verify-full") (not .Values.database.tls.existingSecret) -}}
{{- fail "database.tls.mode is verify-full, which needs an authority. Set database.tls.existingSecret to a Secret with the key ca.pem" -}}
{{- end -}}
{{- if and .Values.postgresql.enabled (ne .Values.database.user "temporal") -}}
{{- fail "the chart's PostgreSQL has the user temporal. Leave database.user unset, or use an external PostgreSQL" -}}
{{- end -}}
{{- if and .Values.postgresql.enabled (ne (int .Values.database.port) 5432) -}}
{{- fail "the chart's PostgreSQL listens on 5432. Leave database.port unset, or use an external PostgreSQL" -}}
{{- end -}}
{{- if eq .Values.database.name .Values.database.visibilityName -}}
{{- fail "database.name and database.visibilityName are the same. Temporal needs two databases" -}}
{{- end -}}
{{- $archival := .Values.server.archival -}}
{{- if and (or $archival.history $archival.visibility) (not $archival.s3Region) -}}
{{- fail "server.archival has a bucket but no region. Set server.archival.s3Region" -}}
{{- end -}}
{{- range .Values.namespaces -}}
{{- if and .archive_history (not $archival.history) -}}
{{- fail (printf "the namespace %s archives histories. Set server.archival.history to a bucket, or archive_history to false" .name) -}}
{{- end -}}
{{- if and .archive_visibility (not $archival.visibility) -}}
{{- fail (printf "the namespace %s archives visibility records. Set server.archival.visibility to a bucket, or archive_visibility to false" .name) -}}
{{- end -}}
{{- end -}}
{{- range $role, $count := .Values.server.replicas -}}
{{- if and (eq (int $count) 1) (gt (int (index $.Values.server.replicas "history")) 1) -}}
{{- fail (printf "server.replicas.%s is 1 and history has more. Use at least 2 of every role, or 1 of every role for a trial" $role) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Rejects an install if its Secrets do not exist. `helm template` and Argo CD cannot access the cluster and skip this check. */}}
{{- define "stack.secretsExist" -}}
{{- $namespace := .Release.Namespace -}}
{{- if lookup "v1" "ServiceAccount" $namespace "default" -}}
{{- $wanted := list (dict "name" .Values.database.existingSecret "keys" (list "password") "remedy" "--from-literal=password=\"$(openssl rand -hex 16)\"") -}}
{{- with .Values.database.tls.existingSecret -}}
{{- $wanted = append $wanted (dict "name" . "keys" (list "ca.pem") "remedy" "--from-file=ca.pem") -}}
{{- end -}}
{{- with .Values.tls.existingSecret -}}
{{- $files := splitList " " "internode-ca.pem internode.pem internode.key client-ca.pem frontend.pem frontend.key system-worker.pem system-worker.key client.pem client.key" -}}
{{- $wanted = append $wanted (dict "name" . "keys" $files "remedy" "--from-file=DIRECTORY") -}}
{{- end -}}
{{- range $secret := $wanted -}}
{{- $found := lookup "v1" "Secret" $namespace $secret.name -}}
{{- if not $found -}}
{{- fail (printf "the Secret %s does not exist in the namespace %s. Create it: kubectl create secret generic %s --namespace %s %s" $secret.name $namespace $secret.name $namespace $secret.remedy) -}}
{{- end -}}
{{- range $key := $secret.keys -}}
{{- if not (hasKey (default dict $found.data) $key) -}}
{{- fail (printf "the Secret %s in the namespace %s lacks the key %s. Add it" $secret.name $namespace $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "stack.pod" -}}
serviceAccountName: {{ .Values.serviceAccountName }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "stack.container" -}}
imagePullPolicy: {{ .Values.images.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end }}

{{/* Spread over nodes and zones where possible; takes a list of the chart's context and a component. */}}
{{- define "stack.spread" -}}
{{- $context := index . 0 -}}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "stack.selector" $context | nindent 8 }}
        app.kubernetes.io/component: {{ index $ 1 }}
  {{- end }}
{{- end }}

{{/* Environment variables of Temporal's SDKs and CLI. */}}
{{- define "stack.clientEnvironment" -}}
- { name: TEMPORAL_ADDRESS, value: "{{ include "stack.frontend" . }}" }
{{- if .Values.tls.enabled }}
- { name: TEMPORAL_TLS_CLIENT_CERT_PATH, value: /etc/temporal/tls/client.pem }
- { name: TEMPORAL_TLS_CLIENT_KEY_PATH, value: /etc/temporal/tls/client.key }
- { name: TEMPORAL_TLS_SERVER_CA_CERT_PATH, value: /etc/temporal/tls/client-ca.pem }
- { name: TEMPORAL_TLS_SERVER_NAME, value: {{ .Values.tls.frontendName }} }
{{- end }}
{{- end }}
