"""Writes the Grafana dashboards from the panels below: `python3 deploy/monitoring/dashboard.py`.

docs/monitoring.md lists the metrics of the autopilot. The stack's metrics come from the Temporal server: one scrape job with a target for each role.
"""

import json
import pathlib

DEPLOY = pathlib.Path(__file__).resolve().parents[1]
NAMESPACES = 'temporal_namespace=~"$namespace"'

# Rows of panels: title, unit, kind, description, and queries with their legends.
ROWS = {
    "Money": [
        ("Idle minimum", "currencyUSD", "stat", "US dollars per hour for provisioned capacity, at the last evaluation.",
         [("max(temporal_capacity_dollars_per_hour)", "")]),
        ("After the planned changes", "currencyUSD", "stat", "Idle minimum of all namespaces in US dollars per hour, after the changes of the last evaluation.",
         [("max(temporal_capacity_planned_dollars_per_hour)", "")]),
        ("Saved, compared with the 7-day peak", "currencyUSD", "stat", "Highest idle minimum of the last 7 days, minus the current one. `temporal-capacity report` shows the savings.",
         [("max(max_over_time(temporal_capacity_dollars_per_hour[7d])) - max(temporal_capacity_dollars_per_hour)", "")]),
        ("Idle minimum over time", "currencyUSD", "timeseries", "US dollars per hour.",
         [("max(temporal_capacity_dollars_per_hour)", "now"), ("max(temporal_capacity_planned_dollars_per_hour)", "planned")]),
    ],
    "Capacity, load and limit (metrics of Temporal Cloud, if this Prometheus scrapes them)": [
        ("Actions and limit", "ops", "timeseries", "Actions per second and limits of the selected namespaces.",
         [(f"sum by (temporal_namespace) (temporal_cloud_v1_total_action_count{{{NAMESPACES}}})", "{{temporal_namespace}}"),
          (f"max by (temporal_namespace) (temporal_cloud_v1_action_limit{{{NAMESPACES}}})", "{{temporal_namespace}} limit")]),
        ("TRUs", "none", "timeseries", "Provisioned capacity of the selected namespaces.",
         [(f"max by (temporal_namespace) (temporal_cloud_v1_provisioned_capacity_tru_count{{{NAMESPACES}}})", "{{temporal_namespace}}")]),
        ("Throttled actions", "ops", "timeseries", "Actions per second that were throttled.",
         [(f"sum by (temporal_namespace) (temporal_cloud_v1_total_action_throttled_count{{{NAMESPACES}}})", "{{temporal_namespace}}")]),
    ],
    "Account": [
        ("Throttled namespaces", "none", "timeseries", "Throttled namespaces at the last evaluation.", [("max(temporal_capacity_throttled_namespaces)", "throttled")]),
        ("Provisioned", "none", "timeseries", "Namespaces with provisioned capacity, and their TRUs.",
         [("max(temporal_capacity_provisioned_namespaces)", "namespaces"), ("max(temporal_capacity_trus)", "TRUs")]),
        ("Decisions by reason", "none", "timeseries", "Decisions of the last evaluation; docs/reason-codes.md explains the codes.",
         [("max by (action, reason) (temporal_capacity_decisions)", "{{action}}: {{reason}}")]),
    ],
    "Data": [
        ("Age of the data", "s", "timeseries", "Age of the newest metrics, and of the last evaluation with usable metrics.",
         [("time() - max(temporal_capacity_newest_metrics_timestamp_seconds)", "newest metrics"),
          ("max(temporal_capacity_last_evaluation_age_seconds)", "last evaluation")]),
        ("Request budget", "none", "timeseries", "Requests to the metrics endpoint in the last hour, and the limit METRICS_REQUESTS_PER_HOUR.",
         [("sum(increase(temporal_capacity_metrics_requests_total[1h]))", "requests"),
          ("max(temporal_capacity_metrics_requests_per_hour_limit)", "limit")]),
        ("Samples", "none", "timeseries", "Failed samples in 30 minutes, evaluations per hour, and 1 while the metrics are unavailable.",
         [("sum(increase(temporal_capacity_samples_failed_total[30m]))", "failed samples"),
          ("sum(increase(temporal_capacity_evaluations_total[1h]))", "evaluations"),
          ("max(temporal_capacity_metrics_unavailable)", "unavailable")]),
    ],
    "Changes": [
        ("Finished changes", "none", "timeseries", "Finished changes per hour, by direction and outcome.",
         [("sum by (direction, outcome) (increase(temporal_capacity_changes_total[1h])) > 0", "{{direction}}: {{outcome}}")]),
        ("In progress and queued", "none", "timeseries", "Current number of changes in progress and queued.",
         [("max(temporal_capacity_changes_running)", "in progress"), ("max(temporal_capacity_changes_queued)", "queued")]),
        ("Paused", "bool_yes_no", "stat", "Whether changes are paused; `temporal-capacity status` shows why.", [("max(temporal_capacity_paused)", "")]),
    ],
    "Workers": [
        ("Task queue backlog", "none", "timeseries", "Waiting tasks, by kind.",
         [("max by (kind) (temporal_worker_kit_task_queue_backlog)", "{{kind}}")]),
        ("Schedule to start", "s", "timeseries", "99th percentile of the time that activities and workflow tasks wait for a worker.",
         [("histogram_quantile(0.99, sum by (le) (rate(temporal_activity_schedule_to_start_latency_seconds_bucket[5m])))", "activities"),
          ("histogram_quantile(0.99, sum by (le) (rate(temporal_workflow_task_schedule_to_start_latency_seconds_bucket[5m])))", "workflow tasks")]),
        ("Failures", "none", "timeseries", "Failures in 30 minutes. Activity attempts are retried; a failing workflow task needs attention.",
         [("sum(increase(temporal_activity_execution_failed_total[30m]))", "activity attempts"),
          ("sum(increase(temporal_workflow_task_execution_failed_total[30m]))", "workflow tasks")]),
    ],
}
STACK = {
    "Roles": [
        ("Targets up", "none", "timeseries", "1 if the role can be scraped.", [('up{job="temporal"}', "{{instance}}")]),
        ("Restarts and membership", "none", "timeseries", "Starts of roles and membership changes in 10 minutes.",
         [("sum by (service_name) (increase(restarts[10m]))", "{{service_name}} starts"),
          ("sum by (service_name) (increase(membership_changed_count[10m]))", "{{service_name}} membership")]),
        ("Shards", "none", "timeseries", "Shards owned by each history process; the sum is the cluster's shard count.",
         [("sum by (instance) (numshards_gauge)", "{{instance}}"), ("sum(increase(sharditem_created_count[10m]))", "taken over in 10 minutes")]),
    ],
    "Requests": [
        ("Requests", "reqps", "timeseries", "Requests per second, by role.", [("sum by (service_name) (rate(service_requests[5m]))", "{{service_name}}")]),
        ("Errors", "reqps", "timeseries", "Errors per second, by role and type; not-found errors are normal.",
         [("sum by (service_name, error_type) (rate(service_error_with_type[5m]))", "{{service_name}}: {{error_type}}")]),
        ("Latency", "s", "timeseries", "99th percentile of the latency, by role.",
         [("histogram_quantile(0.99, sum by (le, service_name) (rate(service_latency_bucket[5m])))", "{{service_name}}")]),
    ],
    "Persistence": [
        ("Requests", "reqps", "timeseries", "Requests per second to the main store and to visibility.",
         [("sum(rate(persistence_requests[5m]))", "main"), ("sum(rate(visibility_persistence_requests[5m]))", "visibility")]),
        ("Errors", "reqps", "timeseries", "Errors per second, by type. A type appears only after its first error.",
         [("sum by (error_type) (rate(persistence_error_with_type[5m])) or vector(0)", "{{error_type}}")]),
        ("Latency", "s", "timeseries", "99th percentile of the latency.",
         [("histogram_quantile(0.99, sum by (le) (rate(persistence_latency_bucket[5m])))", "main"),
          ("histogram_quantile(0.99, sum by (le) (rate(visibility_persistence_latency_bucket[5m])))", "visibility")]),
    ],
    "Task queues": [
        ("Backlog", "none", "timeseries", "Waiting tasks, summed over partitions.",
         [("sum by (namespace, taskqueue, task_type) (approximate_backlog_count)", "{{namespace}} {{taskqueue}} {{task_type}}")]),
        ("Schedule to start", "s", "timeseries", "99th percentile of the time that tasks wait for a worker.",
         [("histogram_quantile(0.99, sum by (le, namespace, taskqueue) (rate(task_schedule_to_start_latency_bucket[5m])))", "{{namespace}} {{taskqueue}}")]),
        ("Tasks without a poller", "none", "timeseries", "Tasks added within 5 minutes while no worker polled for them.",
         [("sum by (namespace, taskqueue) (increase(no_poller_tasks[5m]))", "{{namespace}} {{taskqueue}}")]),
    ],
}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def panel(number, place, title, unit, kind, description, queries):
    targets = [
        {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": expression, "legendFormat": legend or "__auto"}
        for index, (expression, legend) in enumerate(queries)
    ]
    return {
        "id": number, "type": kind, "title": title, "description": description, "datasource": SOURCE, "gridPos": place,
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []}, "options": {}, "targets": targets,
    }


def source_variable():
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0}


def namespace_variable():
    return {"name": "namespace", "label": "Namespace", "type": "query", "datasource": SOURCE, "multi": True, "includeAll": True, "allValue": ".*",
            "query": "label_values(temporal_cloud_v1_action_limit, temporal_namespace)", "refresh": 2, "hide": 0,
            "current": {"text": "All", "value": "$__all"}}


def dashboard(uid, title, description, rows, variables):
    panels, top = [], 0
    for row, members in rows.items():
        panels.append({"id": len(panels) + 1, "type": "row", "title": row, "collapsed": False, "panels": [],
                       "gridPos": {"h": 1, "w": 24, "x": 0, "y": top}})
        width = 24 // len(members)
        for column, member in enumerate(members):
            place = {"h": 8, "w": width, "x": column * width, "y": top + 1}
            panels.append(panel(len(panels) + 1, place, *member))
        top += 9
    return {
        "uid": uid, "title": title, "description": description,
        "tags": ["temporal", "capacity"], "schemaVersion": 39, "version": 1, "editable": True, "timezone": "browser", "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"}, "templating": {"list": variables}, "panels": panels,
    }


# Each dashboard by its file.
DASHBOARDS = {
    DEPLOY / "helm/temporal-capacity/files/dashboard.json": dashboard(
        "temporal-capacity", "Temporal Cloud capacity", "The temporal-capacity autopilot.", ROWS, [source_variable(), namespace_variable()]),
    DEPLOY / "monitoring/stack.json": dashboard(
        "temporal-stack", "Temporal server", "A self-hosted Temporal server, by role.", STACK, [source_variable()]),
}


def text(content):
    return json.dumps(content, indent=2) + "\n"


if __name__ == "__main__":
    for file, content in DASHBOARDS.items():
        file.write_text(text(content))
