{{/* The programs' settings as variables: FLOWMILL_SECTION__KEY (docs/configuration.md). */}}

{{/* What is secret: its key in the chart's Secret, and its value or the Secret that has it. */}}
{{- define "flowmill.sealed" -}}
{{- $v := .Values -}}
{{- $sealed := dict
  "postgres-url" (dict "value" $v.postgres.url "from" $v.postgres.urlFrom)
  "postgres-worker-url" (dict "value" $v.postgres.workerUrl "from" $v.postgres.workerUrlFrom)
  "postgres-migrate-url" (dict "value" $v.postgres.migrateUrl "from" $v.postgres.migrateUrlFrom)
  "rabbitmq-url" (dict "value" $v.rabbitmq.url "from" $v.rabbitmq.urlFrom)
  "redis-url" (dict "value" $v.redis.url "from" $v.redis.urlFrom)
  "api-key" (dict "value" $v.api.key "from" $v.api.keyFrom)
  "api-pepper" (dict "value" $v.api.pepper "from" $v.api.pepperFrom)
  "secrets-key" (dict "value" $v.secrets.key "from" $v.secrets.keyFrom)
  "secrets-old-keys" (dict "value" $v.secrets.oldKeys "from" $v.secrets.oldKeysFrom)
  "webhooks-url-secret" (dict "value" $v.webhooks.urlSecret "from" $v.webhooks.urlSecretFrom)
  "knowledge-url" (dict "value" $v.services.knowledgeUrl "from" $v.services.knowledgeUrlFrom)
  "sandbox-key" (dict "value" $v.services.sandboxKey "from" $v.services.sandboxKeyFrom)
  "otlp-headers" (dict "value" $v.otlp.headers "from" $v.otlp.headersFrom)
-}}
{{- if $v.dev.enabled -}}
{{- $host := printf "%s-dev" (include "flowmill.fullname" .) -}}
{{- $password := $v.dev.password -}}
{{- $made := dict
  "postgres-url" (printf "postgres://flowmill:%s@%s-postgres:5432/flowmill" $password $host)
  "rabbitmq-url" (printf "amqp://flowmill:%s@%s-rabbitmq:5672/%%2f" $password $host)
  "redis-url" (printf "redis://:%s@%s-redis:6379/0" $password $host)
  "api-key" $password
  "api-pepper" (sha256sum (printf "pepper %s" $password))
  "secrets-key" (sha256sum (printf "secrets %s" $password))
-}}
{{- range $key, $value := $made -}}
{{- $one := get $sealed $key -}}
{{- if not (or $one.value $one.from) -}}
{{- $_ := set $one "value" $value -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $sealed -}}
{{- end -}}

{{/* Where one secret lies, as the YAML of a key reference; nothing if it is not given.
     Takes root, id and, where another one is taken in its absence, otherwise. */}}
{{- define "flowmill.reference" -}}
{{- $sealed := include "flowmill.sealed" .root | fromJson -}}
{{- $id := .id -}}
{{- $one := get $sealed $id -}}
{{- if and .otherwise (not (or $one.value $one.from)) -}}
{{- $id = .otherwise -}}
{{- $one = get $sealed $id -}}
{{- end -}}
{{- if $one.from -}}
{name: {{ $one.from.name | quote }}, key: {{ $one.from.key | quote }}}
{{- else if $one.value -}}
{name: {{ default (include "flowmill.fullname" .root) .secret | quote }}, key: {{ $id }}}
{{- end -}}
{{- end -}}

{{/* A secret as a variable. Takes what flowmill.reference takes, and variable. */}}
{{- define "flowmill.sealedVariable" -}}
{{- with include "flowmill.reference" . }}
- name: {{ $.variable }}
  valueFrom:
    secretKeyRef: {{ . }}
{{- end }}
{{- end -}}

{{/* What is secret and all programs need. */}}
{{- define "flowmill.sharedSecrets" -}}
{{- include "flowmill.sealedVariable" (dict "root" . "id" "redis-url" "variable" "FLOWMILL_REDIS__URL") }}
{{- include "flowmill.sealedVariable" (dict "root" . "id" "secrets-key" "variable" "FLOWMILL_SECRETS__KEY") }}
{{- include "flowmill.sealedVariable" (dict "root" . "id" "secrets-old-keys" "variable" "FLOWMILL_SECRETS__OLD_KEYS") }}
{{- end -}}

{{/* What schedulers and senders of webhooks need besides. */}}
{{- define "flowmill.schedulerSecrets" -}}
{{- include "flowmill.sealedVariable" (dict "root" . "id" "postgres-url" "variable" "FLOWMILL_POSTGRES__URL") }}
{{- include "flowmill.sealedVariable" (dict "root" . "id" "api-key" "variable" "FLOWMILL_API__KEY") }}
{{- include "flowmill.sealedVariable" (dict "root" . "id" "api-pepper" "variable" "FLOWMILL_API__PEPPER") }}
{{- include "flowmill.sealedVariable" (dict "root" . "id" "webhooks-url-secret" "variable" "FLOWMILL_WEBHOOKS__URL_SECRET") }}
{{- end -}}

{{- define "flowmill.brokerSecret" -}}
{{- include "flowmill.sealedVariable" (dict "root" . "id" "rabbitmq-url" "variable" "FLOWMILL_RABBITMQ__URL") }}
{{- end -}}

{{/* Who and where a process is. */}}
{{- define "flowmill.ownVariables" -}}
- name: FLOWMILL_NAME
  valueFrom:
    fieldRef: {fieldPath: metadata.name}
- {name: FLOWMILL_HTTP__LISTEN, value: "0.0.0.0:8080"}
{{- if .Values.otlp.endpoint }}
- {name: FLOWMILL_OTLP__ENDPOINT, value: {{ .Values.otlp.endpoint | quote }}}
- {name: FLOWMILL_OTLP__SAMPLE, value: {{ .Values.otlp.sample | quote }}}
{{- include "flowmill.sealedVariable" (dict "root" . "id" "otlp-headers" "variable" "FLOWMILL_OTLP__HEADERS") }}
{{- end }}
{{- end -}}

{{/* Settings as variables. Takes a mapping of settings, and the variables' beginning. */}}
{{- define "flowmill.variables" -}}
{{- range $key, $value := .settings }}
{{- $name := printf "%s%s" $.prefix (upper $key) }}
{{- if kindIs "map" $value }}
{{- include "flowmill.variables" (dict "settings" $value "prefix" (printf "%s__" $name)) }}
{{- else if kindIs "slice" $value }}
- {name: {{ $name }}, value: {{ join "," $value | quote }}}
{{- else if kindIs "float64" $value }}
- {name: {{ $name }}, value: {{ int64 $value | quote }}}
{{- else }}
- {name: {{ $name }}, value: {{ toString $value | quote }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* All settings of one program: those of all, and its own over them. Takes root and settings. */}}
{{- define "flowmill.settings" -}}
{{- $all := mergeOverwrite (deepCopy .root.Values.settings) (deepCopy .settings) -}}
{{- include "flowmill.variables" (dict "settings" $all "prefix" "FLOWMILL_") }}
{{- end -}}

{{/* What the names of queues begin with. */}}
{{- define "flowmill.prefix" -}}
{{- dig "rabbitmq" "prefix" "flowmill" .Values.settings -}}
{{- end -}}

{{/* What no schema can say: values that need each other. */}}
{{- define "flowmill.check" -}}
{{- $sealed := include "flowmill.sealed" . | fromJson -}}
{{- range $id, $what := dict
  "postgres-url" "postgres.url or postgres.urlFrom: where is the database? dev.enabled brings one to try things out"
  "rabbitmq-url" "rabbitmq.url or rabbitmq.urlFrom: where is the broker? dev.enabled brings one to try things out"
  "api-key" "api.key or api.keyFrom: the API needs a key (openssl rand -hex 24)"
-}}
{{- $one := get $sealed $id -}}
{{- if not (or $one.value $one.from) -}}
{{- fail (printf "set %s" $what) -}}
{{- end -}}
{{- end -}}
{{- $pools := include "flowmill.pools" . | fromYaml -}}
{{- range $class := list "light" "code" "http" "llm" -}}
{{- $served := 0 -}}
{{- range $name, $pool := $pools -}}
{{- $served = add $served (int (dig "slots" $class 0 $pool)) -}}
{{- end -}}
{{- if eq (int $served) 0 -}}
{{- fail (printf "workers: no pool has slots for the class %s, so such nodes would wait for ever" $class) -}}
{{- end -}}
{{- end -}}
{{- range $name, $pool := $pools -}}
{{- with $pool.autoscaling -}}
{{- if gt (int .min) (int .max) -}}
{{- fail (printf "workers.%s.autoscaling: min is above max" $name) -}}
{{- end -}}
{{- if and (eq .by "hpa") (lt (int .min) 1) -}}
{{- fail (printf "workers.%s.autoscaling.min: an HPA keeps one worker at least; keda takes 0" $name) -}}
{{- end -}}
{{- if and (eq .by "hpa") (not .tasks) (eq (int .cpuPercent) 0) -}}
{{- fail (printf "workers.%s.autoscaling: an hpa needs tasks or cpuPercent" $name) -}}
{{- end -}}
{{- if and (eq .by "keda") (not .queues) (not .prometheus) -}}
{{- fail (printf "workers.%s.autoscaling: keda needs queues or prometheus" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $specs := dict "scheduler" .Values.scheduler "webhooks.separate" .Values.webhooks.separate -}}
{{- range $name, $pool := $pools -}}
{{- $_ := set $specs (printf "workers.%s" $name) $pool -}}
{{- end -}}
{{- range $name, $spec := $specs -}}
{{- range dig "pod" "env" list $spec -}}
{{- if hasPrefix "FLOWMILL_" .name -}}
{{- fail (printf "%s.pod.env: %s is a setting, which belongs under %s.settings" $name .name $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- fail "set ingress.host: under which name is the API reached?" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "set httpRoute.parentRefs: which gateway leads to the API?" -}}
{{- end -}}
{{- end -}}
