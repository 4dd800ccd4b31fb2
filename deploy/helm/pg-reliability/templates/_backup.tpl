{{/* The pod of the backup job, as daemon or for a CronJob. */}}
{{- define "pgr.backup.pod" -}}
{{- $v := .Values.backup -}}
{{- $daemon := eq $v.mode "daemon" -}}
metadata:
  labels:
    {{- include "pgr.labels" (list . "backup") | nindent 4 }}
    {{- with $v.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $v.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "pgr.pod.identity" . | nindent 2 }}
  {{- with include "pgr.scheduling" (list . $v (ternary "" "exporter" $daemon)) | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- if not $daemon }}
  restartPolicy: Never
  {{- end }}
  terminationGracePeriodSeconds: {{ $v.terminationGracePeriodSeconds }}
  containers:
    - name: backup
      image: {{ include "pgr.image" (list $v.image (printf "v%s-pg%v" .Chart.AppVersion $v.postgresMajor)) }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      args:
        {{- if $daemon }}
        - schedule
        - --cron={{ $v.schedule }}
        {{- else }}
        - run
        {{- end }}
        # Below the volume's root, which is not ours to close. Kubernetes starts no pod without its volume.
        - --init
        - --repository=/backups/repository
        - --scratch-dir=/scratch
        {{- if $v.verify }}
        - --verify
        {{- else if $daemon }}
        - --no-verify
        {{- end }}
        - --time-zone={{ $v.timeZone }}
        - --keep={{ $v.keep }}
        - --keep-daily={{ $v.keepDaily }}
        - --keep-weekly={{ $v.keepWeekly }}
        - --keep-monthly={{ $v.keepMonthly }}
        {{- if $v.token.existingSecret }}
        - --web.backup-token-file=/etc/pg_reliability/token/token
        {{- end }}
        {{- with $v.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      env:
        - name: DATA_SOURCE_URI
          value: {{ include "pgr.uri" (list . (default .Values.database.host $v.host)) | quote }}
        - name: DATA_SOURCE_USER
          value: {{ $v.user | quote }}
        - name: DATA_SOURCE_PASS_FILE
          value: /etc/pg_reliability/password/password
        {{- with $v.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if $daemon }}
      ports:
        - {name: metrics, containerPort: 9188}
      # Not /-/healthy: that is the age of the newest good backup, and a restart would end the run that mends it.
      livenessProbe:
        httpGet: {path: /-/ready, port: metrics}
        periodSeconds: 30
        timeoutSeconds: 10
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /-/ready, port: metrics}
        periodSeconds: 10
        timeoutSeconds: 5
      {{- end }}
      securityContext: {{- include "pgr.container.security" . | nindent 8 }}
      resources: {{- toYaml $v.resources | nindent 8 }}
      volumeMounts:
        - {name: backups, mountPath: /backups}
        - {name: scratch, mountPath: /scratch}
        - {name: tmp, mountPath: /tmp}
        - {name: password, mountPath: /etc/pg_reliability/password, readOnly: true}
        {{- if .Values.database.ca.existingSecret }}
        - {name: ca, mountPath: /etc/pg_reliability/ca, readOnly: true}
        {{- end }}
        {{- if $v.token.existingSecret }}
        - {name: token, mountPath: /etc/pg_reliability/token, readOnly: true}
        {{- end }}
        {{- with $v.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: backups
      persistentVolumeClaim: {claimName: {{ include "pgr.backup.claim" . }}}
    - name: scratch
      {{- if eq $v.scratch.type "emptyDir" }}
      emptyDir: {sizeLimit: {{ $v.scratch.size }}}
      {{- else }}
      ephemeral:
        volumeClaimTemplate:
          spec:
            accessModes: [ReadWriteOnce]
            {{- with $v.scratch.storageClass }}
            storageClassName: {{ . }}
            {{- end }}
            resources:
              requests: {storage: {{ $v.scratch.size }}}
      {{- end }}
    - name: tmp
      emptyDir: {sizeLimit: 64Mi}
    {{- include "pgr.secret.volume" (list "password" $v.existingSecret $v.passwordKey) | nindent 4 }}
    {{- with include "pgr.ca.volume" . }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- if $v.token.existingSecret }}
    {{- include "pgr.secret.volume" (list "token" $v.token.existingSecret $v.token.key) | nindent 4 }}
    {{- end }}
    {{- with $v.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
