{{/*
What the exporter can't see in Kubernetes, under the names that runbooks, routes and inhibitions know: restarts of the
container and OOM kills from kube-state-metrics, space from the kubelet. `instance` is the pod's name, or the claim's.
*/}}
{{- define "pgr.alerts.kubernetes" -}}
{{- $k := .Values.alerts.kubernetes -}}
{{- $namespace := default .Release.Namespace $k.namespace -}}
{{- $container := printf "namespace=%q, pod=~%q, container=%q" $namespace $k.pods $k.container -}}
{{- $claims := printf "namespace=%q, persistentvolumeclaim=~%q" $namespace $k.claims -}}
groups:
  - name: pgr-kubernetes
    interval: 15s
    rules:
      # max: kube-state-metrics may run twice, and be replaced.
      - record: pgr:kubernetes_container_restarts:increase15m
        expr: |-
          label_join(
            max by (namespace, pod, container) (increase(kube_pod_container_status_restarts_total{ {{- $container -}} }[15m])),
            "instance", "", "pod")
      # An operator ends and starts the primary that it makes a standby. That is a PostgresFailover; whoever was killed is news.
      # The exporter knows of the demotion only when the server is back: hence the minute.
      - alert: PostgresContainerRestarted
        expr: |-
          pgr:kubernetes_container_restarts:increase15m > 0
            unless on (namespace, pod, container) (
              max by (namespace, pod, container) (kube_pod_container_status_last_terminated_reason{ {{- $container }}, reason="Completed"}) == 1
                and on (pod) label_replace(increase(pg_reliability_restarts_total{kind="demotion"}[15m]), "pod", "$1", "instance", "(.*)") > 0)
        for: 1m
        labels: {{- include "pgr.alerts.labels" (list . "warning" "availability") | nindent 10 }}
        annotations:
          summary: Kubernetes restarted the database's container.
          description: 'Restarts of the container of {{ "{{ $labels.instance }}" }} in 15m: {{ "{{ $value | printf \"%.0f\" }}" }}.'
          runbook_url: {{ .Values.alerts.runbookUrl }}PostgresContainerRestarted.md
          dashboard_url: {{ .Values.alerts.dashboardUrl }}pgr-overview
      # The last reason stays until the next restart: only with a restart is it news.
      - alert: PostgresContainerOOMKilled
        expr: |-
          pgr:kubernetes_container_restarts:increase15m > 0
            and on (namespace, pod, container) kube_pod_container_status_last_terminated_reason{ {{- $container }}, reason="OOMKilled"} == 1
        labels: {{- include "pgr.alerts.labels" (list . "warning" "availability") | nindent 10 }}
        annotations:
          summary: The kernel killed the database's container for want of memory.
          description: 'The container of {{ "{{ $labels.instance }}" }} was OOM-killed and restarted; restarts in 15m: {{ "{{ $value | printf \"%.0f\" }}" }}.'
          runbook_url: {{ .Values.alerts.runbookUrl }}PostgresContainerOOMKilled.md
          dashboard_url: {{ .Values.alerts.dashboardUrl }}pgr-overview
      {{- if $k.claims }}
      - record: pgr:kubernetes_claim:used_ratio
        expr: |-
          label_join(label_join(
            1 - max by (namespace, persistentvolumeclaim) (kubelet_volume_stats_available_bytes{ {{- $claims -}} })
              / max by (namespace, persistentvolumeclaim) (kubelet_volume_stats_capacity_bytes{ {{- $claims -}} }),
            "instance", "", "persistentvolumeclaim"), "volume", "", "persistentvolumeclaim")
      {{- range list (list 0.85 "85%" "5m" "warning" "filling up") (list 0.95 "95%" "1m" "critical" "full") }}
      - alert: PostgresDiskFull
        expr: pgr:kubernetes_claim:used_ratio > {{ index . 0 }}
        for: {{ index . 2 }}
        labels: {{- include "pgr.alerts.labels" (list $ (index . 3) "disk") | nindent 10 }}
        annotations:
          summary: A claim of the database is {{ index . 4 }}.
          description: 'Claim {{ "{{ $labels.instance }}" }} is {{ "{{ $value | humanizePercentage }}" }} full, more than {{ index . 1 }}.'
          runbook_url: {{ $.Values.alerts.runbookUrl }}PostgresDiskFull.md
          dashboard_url: {{ $.Values.alerts.dashboardUrl }}pgr-capacity
      {{- end }}
      {{- end }}
{{- end -}}

{{- define "pgr.alerts.labels" -}}
severity: {{ index . 1 }}
area: {{ index . 2 }}
{{- with (index . 0).Values.cluster }}
cluster: {{ . | quote }}
{{- end }}
{{- end -}}
