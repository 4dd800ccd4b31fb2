{{- define "pgr.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Room is left for -backup and a CronJob's suffix: its name may have 52 characters. A release's name may have dots, a Service's not. */}}
{{- define "pgr.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "pgr.name" .) .Release.Name -}}
{{- .Release.Name | replace "." "-" | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "pgr.name" .) | replace "." "-" | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "pgr.instance" -}}
{{- default (printf "%s/%s" .Release.Namespace (include "pgr.fullname" .)) .Values.instance -}}
{{- end -}}

{{/* What never changes: (list context component). */}}
{{- define "pgr.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: {{ include "pgr.name" $ }}
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "pgr.labels" -}}
{{- $ := index . 0 -}}
{{ include "pgr.selector" . }}
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" | trunc 63 }}
{{- with $.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "pgr.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "pgr.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* (list image defaultTag) */}}
{{- define "pgr.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default (index . 1) $image.tag }}
{{- end -}}
{{- end -}}

{{- define "pgr.container.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* The server's address, without user and password: (list context host). */}}
{{- define "pgr.uri" -}}
{{- $db := (index . 0).Values.database -}}
{{ index . 1 }}:{{ $db.port }}/{{ $db.name }}?sslmode={{ $db.sslmode }}
{{- if $db.ca.existingSecret }}&sslrootcert=/etc/pg_reliability/ca/ca.crt{{ end -}}
{{- end -}}

{{- define "pgr.ca.volume" -}}
{{- with .Values.database.ca -}}
{{- if .existingSecret -}}
- name: ca
  secret:
    secretName: {{ .existingSecret }}
    items: [{key: {{ .key }}, path: ca.crt}]
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A secret's one key as the file /etc/pg_reliability/NAME/NAME: (list name secret key). */}}
{{- define "pgr.secret.volume" -}}
- name: {{ index . 0 }}
  secret:
    secretName: {{ index . 1 }}
    defaultMode: 0440
    items: [{key: {{ index . 2 }}, path: {{ index . 0 }}}]
{{- end -}}

{{/* Does the exporter mount the backup repository? */}}
{{- define "pgr.catalog" -}}
{{- if and .Values.backup.enabled (or .Values.backup.exporterReadsRepository (eq .Values.backup.mode "cronjob")) }}true{{ end -}}
{{- end -}}

{{- define "pgr.backup.claim" -}}
{{- default (printf "%s-backups" (include "pgr.fullname" .)) .Values.backup.persistence.existingClaim -}}
{{- end -}}

{{/* A claim for one node brings the pod to the node of the component that has it: (list context component affinity). */}}
{{- define "pgr.affinity" -}}
{{- $ := index . 0 -}}
{{- $affinity := deepCopy (index . 2) -}}
{{- if and (index . 1) (include "pgr.catalog" $) (ne $.Values.backup.persistence.accessMode "ReadWriteMany") -}}
{{- $term := dict "labelSelector" (dict "matchLabels" (include "pgr.selector" (list $ (index . 1)) | fromYaml)) "topologyKey" "kubernetes.io/hostname" -}}
{{- $pods := default dict (get $affinity "podAffinity") -}}
{{- $terms := append (default list (get $pods "requiredDuringSchedulingIgnoredDuringExecution")) $term -}}
{{- $_ := set $affinity "podAffinity" (merge (dict "requiredDuringSchedulingIgnoredDuringExecution" $terms) $pods) -}}
{{- end -}}
{{- with $affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* Where the pod may run: (list context values component), the last as for pgr.affinity, or empty. */}}
{{- define "pgr.scheduling" -}}
{{- $v := index . 1 -}}
{{- include "pgr.affinity" (list (index . 0) (index . 2) $v.affinity) }}
{{- with $v.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "pgr.pod.identity" -}}
serviceAccountName: {{ include "pgr.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- end -}}

{{/* A target keeps its name when its pod is replaced: two pods' series of one server would meet in the alerts' joins. */}}
{{- define "pgr.relabelings" -}}
- action: labeldrop
  regex: pod|container|endpoint|node
- targetLabel: instance
  replacement: {{ index . 1 | quote }}
{{- with (index . 0).Values.cluster }}
- targetLabel: cluster
  replacement: {{ . | quote }}
{{- end }}
{{- end -}}
