{{/* Pods: what all have in common. They satisfy the restricted pod security standard. */}}

{{- define "flowmill.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.security.runAsUser }}
runAsUser: {{ int64 . }}
{{- end }}
{{- with .Values.security.runAsGroup }}
runAsGroup: {{ int64 . }}
fsGroup: {{ int64 . }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "flowmill.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* What a pod begins with: nothing of Kubernetes is asked, and its services are no settings. */}}
{{- define "flowmill.podStart" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
securityContext: {{- include "flowmill.podSecurity" . | nindent 2 }}
{{- end -}}

{{/* A Deployment of long-lived pods. Takes root, component, pool, name, program, spec (its values),
     variables, grace (seconds), delay (seconds before it is told to stop), strategy, files. */}}
{{- define "flowmill.deployment" -}}
{{- $root := .root -}}
{{- $pod := default dict .spec.pod -}}
{{- $labels := include "flowmill.component" . -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "flowmill.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  {{- if not .scaled }}
  replicas: {{ int .spec.replicas }}
  {{- end }}
  revisionHistoryLimit: 3
  selector:
    matchLabels: {{- $labels | nindent 6 }}
  strategy:
    rollingUpdate: {{ .strategy }}
  template:
    metadata:
      labels:
        {{- $labels | nindent 8 }}
        {{- with $pod.labels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        {{- /* what pods only read when they start */}}
        checksum/secret: {{ include "flowmill.sealed" $root | sha256sum }}
        {{- if .files }}
        checksum/services: {{ toJson $root.Values.services | sha256sum }}
        {{- end }}
        {{- with $pod.annotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      {{- include "flowmill.podStart" $root | nindent 6 }}
      serviceAccountName: {{ include "flowmill.serviceAccount" $root }}
      terminationGracePeriodSeconds: {{ .grace }}
      {{- with $pod.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- with $pod.runtimeClassName }}
      runtimeClassName: {{ . }}
      {{- end }}
      {{- with $pod.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $pod.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $pod.affinity }}
      affinity: {{- toYaml . | nindent 8 }}
      {{- end }}
      topologySpreadConstraints:
        {{- if $pod.topologySpread }}
        {{- toYaml $pod.topologySpread | nindent 8 }}
        {{- else }}
        {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
        - topologyKey: {{ . }}
          maxSkew: 1
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{- $labels | nindent 14 }}
        {{- end }}
        {{- end }}
      containers:
        - name: {{ .program }}
          image: {{ include "flowmill.image" $root | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: [flowmill-{{ .program }}]
          securityContext: {{- include "flowmill.containerSecurity" $root | nindent 12 }}
          env:
            {{- .variables | nindent 12 }}
            {{- with $pod.env }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- with $pod.envFrom }}
          envFrom: {{- toYaml . | nindent 12 }}
          {{- end }}
          ports:
            - {name: http, containerPort: 8080}
          {{- /* it opens its port at once and then waits for its servers, however long */}}
          livenessProbe:
            httpGet: {path: /healthz, port: http}
            initialDelaySeconds: 5
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /readyz, port: http}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 2
          {{- if .delay }}
          lifecycle:
            preStop:
              {{- /* callers learn of it before it stops */}}
              exec: {command: [sleep, {{ .delay | quote }}]}
          {{- end }}
          resources: {{- toYaml .spec.resources | nindent 12 }}
          volumeMounts:
            - {name: scratch, mountPath: /tmp}
            {{- if .files }}
            - {name: services, mountPath: /etc/flowmill, readOnly: true}
            {{- end }}
            {{- with $pod.volumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        - name: scratch
          emptyDir: {sizeLimit: 256Mi}
        {{- if .files }}
        - name: services
          {{- .files | nindent 10 }}
        {{- end }}
        {{- with $pod.volumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end -}}

{{/* A PodDisruptionBudget. Takes root, component, pool, name, spec. */}}
{{- define "flowmill.disruption" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "flowmill.labels" .root | nindent 4 }}
spec:
  maxUnavailable: {{ .spec.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{- include "flowmill.component" . | nindent 6 }}
{{- end -}}
