package test

import (
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

func matching(t *testing.T, found objects, selector *metav1.LabelSelector) []corev1.PodTemplateSpec {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	var pods []corev1.PodTemplateSpec
	for _, pod := range found.pods() {
		if s.Matches(labels.Set(pod.Labels)) {
			pods = append(pods, pod)
		}
	}
	return pods
}

// port is a container's port by name; 0 if there is none.
func port(pod corev1.PodTemplateSpec, name string) int32 {
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == name {
				return p.ContainerPort
			}
		}
	}
	return 0
}

func TestSelectorsFindOnePodEach(t *testing.T) {
	eachValues(t, func(t *testing.T, found objects) {
		for id, object := range found {
			var selector *metav1.LabelSelector
			switch v := object.(type) {
			case *appsv1.Deployment:
				selector = v.Spec.Selector
			case *appsv1.StatefulSet:
				selector = v.Spec.Selector
				if found["Service/"+v.Spec.ServiceName] == nil {
					t.Errorf("%s: its service %s is not there", id, v.Spec.ServiceName)
				}
			case *corev1.Service:
				selector = &metav1.LabelSelector{MatchLabels: v.Spec.Selector}
			case *networkingv1.NetworkPolicy:
				selector = &v.Spec.PodSelector
			case *monitoringv1.PodMonitor:
				selector = &v.Spec.Selector
			default:
				continue
			}
			pods := matching(t, found, selector)
			if len(pods) != 1 {
				t.Errorf("%s selects %d pods", id, len(pods))
				continue
			}
			switch v := object.(type) {
			case *corev1.Service:
				for _, p := range v.Spec.Ports {
					if port(pods[0], p.TargetPort.StrVal) != p.Port {
						t.Errorf("%s: port %d leads to %q, which is %d", id, p.Port, p.TargetPort.StrVal, port(pods[0], p.TargetPort.StrVal))
					}
				}
			case *networkingv1.NetworkPolicy:
				for _, rule := range v.Spec.Ingress {
					if len(rule.Ports) != 1 || rule.Ports[0].Port.IntVal != port(pods[0], "metrics") {
						t.Errorf("%s lets in %v, the metrics are on %d", id, rule.Ports, port(pods[0], "metrics"))
					}
				}
				if port(pods[0], "metrics") == 0 && len(v.Spec.Ingress) > 0 {
					t.Errorf("%s lets in, and the pod listens to nothing", id)
				}
			case *monitoringv1.PodMonitor:
				for _, e := range v.Spec.PodMetricsEndpoints {
					if e.Port == nil || port(pods[0], *e.Port) == 0 {
						t.Errorf("%s scrapes a port that the pod does not have", id)
					}
					namesTarget(t, id, e.RelabelConfigs)
				}
			}
		}
		for id, object := range found {
			if m, ok := object.(*monitoringv1.ServiceMonitor); ok {
				scrapesOneService(t, found, id, m)
			}
		}
	})
}

func scrapesOneService(t *testing.T, found objects, id string, m *monitoringv1.ServiceMonitor) {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(&m.Spec.Selector)
	if err != nil {
		t.Fatal(err)
	}
	services := 0
	for _, object := range found {
		service, ok := object.(*corev1.Service)
		if !ok || !s.Matches(labels.Set(service.Labels)) {
			continue
		}
		services++
		for _, e := range m.Spec.Endpoints {
			if !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == e.Port }) {
				t.Errorf("%s scrapes port %q, which %s does not have", id, e.Port, service.Name)
			}
			namesTarget(t, id, e.RelabelConfigs)
		}
	}
	if services != 1 {
		t.Errorf("%s selects %d services", id, services)
	}
}

// namesTarget: the target keeps its name through a new pod, and no label of the pod stays. Two pods' series of one
// instance would be two matches where the alerts join on (job, instance).
func namesTarget(t *testing.T, id string, relabelings []monitoringv1.RelabelConfig) {
	t.Helper()
	named, dropped := false, false
	for _, r := range relabelings {
		named = named || r.TargetLabel == "instance" && r.Replacement != nil && *r.Replacement != ""
		dropped = dropped || r.Action == "labeldrop" && strings.Contains(r.Regex, "pod|")
	}
	if !named || !dropped {
		t.Errorf("%s: the target's instance is set: %v; the pod's labels are dropped: %v", id, named, dropped)
	}
}

func TestWhatPodsNameIsThere(t *testing.T) {
	eachValues(t, func(t *testing.T, found objects) {
		for id, pod := range found.pods() {
			volumes := map[string]bool{}
			for _, v := range pod.Spec.Volumes {
				if volumes[v.Name] {
					t.Errorf("%s: the volume %s is there twice", id, v.Name)
				}
				volumes[v.Name] = true
				claim := v.PersistentVolumeClaim
				if claim != nil && found["PersistentVolumeClaim/"+claim.ClaimName] == nil && claim.ClaimName != "pg-backups" { // of values/cronjob.yaml
					t.Errorf("%s: no claim %s", id, claim.ClaimName)
				}
				if v.Projected == nil {
					continue
				}
				for _, source := range v.Projected.Sources {
					if source.ConfigMap != nil && found["ConfigMap/"+source.ConfigMap.Name] == nil {
						t.Errorf("%s: no ConfigMap %s", id, source.ConfigMap.Name)
					}
				}
			}
			for _, c := range pod.Spec.Containers {
				used := map[string]bool{}
				for _, m := range c.VolumeMounts {
					if used[m.MountPath] || !volumes[m.Name] {
						t.Errorf("%s: %s is mounted twice, or its volume %s is not there", id, m.MountPath, m.Name)
					}
					used[m.MountPath] = true
					delete(volumes, m.Name)
				}
				filesAreMounted(t, id, pod.Spec, c)
			}
			if len(volumes) > 0 {
				t.Errorf("%s: nobody mounts %v", id, volumes)
			}
			if account := pod.Spec.ServiceAccountName; found["ServiceAccount/"+account] == nil && account != "watcher" { // of values/noalerts.yaml
				t.Errorf("%s: no ServiceAccount %s", id, account)
			}
		}
	})
}

// filesAreMounted: each file of ours that an argument or a variable names is one that a mounted volume holds.
func filesAreMounted(t *testing.T, id string, pod corev1.PodSpec, c corev1.Container) {
	t.Helper()
	texts := slices.Clone(c.Args)
	for _, e := range c.Env {
		texts = append(texts, e.Value)
	}
	for _, text := range texts {
		_, file, ok := strings.Cut(text, "/etc/pg_reliability/")
		if !ok {
			continue
		}
		dir, name, _ := strings.Cut(file, "/")
		mounted := slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
			return m.MountPath == "/etc/pg_reliability/"+dir && m.ReadOnly && slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool {
				return v.Name == m.Name &&
					(v.Projected != nil || slices.ContainsFunc(v.Secret.Items, func(k corev1.KeyToPath) bool { return k.Path == name }))
			})
		})
		if !mounted {
			t.Errorf("%s: %s names a file that is not mounted", id, text)
		}
	}
}

func TestPodsAreConfined(t *testing.T) {
	eachValues(t, func(t *testing.T, found objects) {
		for id, pod := range found.pods() {
			s := pod.Spec.SecurityContext
			if pod.Spec.AutomountServiceAccountToken == nil || *pod.Spec.AutomountServiceAccountToken {
				t.Errorf("%s gets a token", id)
			}
			if s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.FSGroup == nil || s.SeccompProfile == nil ||
				s.SeccompProfile.Type != "RuntimeDefault" {
				t.Errorf("%s is not confined: %v", id, s)
			}
			for _, c := range pod.Spec.Containers {
				s := c.SecurityContext
				if s == nil || !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation ||
					!slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
					t.Errorf("%s: the container is not confined: %v", id, s)
				}
				if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
					t.Errorf("%s: no limits", id)
				}
				for _, e := range c.Env {
					if strings.Contains(strings.ToLower(e.Name), "pass") && !strings.HasSuffix(e.Name, "_FILE") {
						t.Errorf("%s: %s shows a secret in the environment", id, e.Name)
					}
				}
			}
		}
	})
}

// The namespace may enforce Kubernetes' Pod Security Standard "restricted".
func TestPodsMeetTheRestrictedStandard(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	eachValues(t, func(t *testing.T, found objects) {
		for id, pod := range found.pods() {
			results := evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec)
			if all := policy.AggregateCheckResults(results); !all.Allowed {
				t.Errorf("%s: %s", id, all.ForbiddenDetail())
			}
		}
	})
}

// Killing what watches because the database is down, or what makes backups because the last one is old, ends the cure.
func TestLivenessDependsOnThePodAlone(t *testing.T) {
	eachValues(t, func(t *testing.T, found objects) {
		for id, pod := range found.pods() {
			for _, c := range pod.Spec.Containers {
				if len(c.Ports) == 0 {
					continue
				}
				want := map[string]string{"exporter": "/-/healthy", "backup": "/-/ready"}[c.Name]
				if c.LivenessProbe == nil || c.LivenessProbe.HTTPGet.Path != want || c.ReadinessProbe.HTTPGet.Path != "/-/ready" {
					t.Errorf("%s: liveness %v, readiness %v", id, c.LivenessProbe, c.ReadinessProbe)
				}
			}
		}
	})
}

// The repository's claim can be mounted by one node: who reads it must be there, and only one of the two waits for the other.
func TestReadersOfTheRepositoryAreOnItsNode(t *testing.T) {
	for file, follower := range map[string]string{"everything": "Deployment/shop-watch", "cronjob": "CronJob/watch-pg-reliability-backup"} {
		found := rendered(t, "values/"+file+".yaml")
		for id, pod := range found.pods() {
			follows := false
			if a := pod.Spec.Affinity; a != nil && a.PodAffinity != nil {
				for _, term := range a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
					follows = follows || term.TopologyKey == "kubernetes.io/hostname" && len(matching(t, found, term.LabelSelector)) == 1
				}
			}
			if follows != (id == follower) {
				t.Errorf("%s: %s follows the other: %v", file, id, follows)
			}
		}
	}
	terms := rendered(t, "values/everything.yaml").
		pods()["Deployment/shop-watch"].Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if len(terms) != 2 {
		t.Errorf("the user's own affinity is lost: %v", terms)
	}
}
