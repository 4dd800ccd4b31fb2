package test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/releaseutil"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const exampleDir = "../../kubernetes/cloudnative-pg/"

// cnpgCluster is what this test asks of a Cluster of CloudNativePG.
type cnpgCluster struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Spec     struct {
		Instances    int
		Certificates struct{ ServerAltDNSNames []string }
		Managed      struct {
			Roles []struct {
				Name            string
				ConnectionLimit int
				InRoles         []string
				PasswordSecret  struct{ Name string }
			}
		}
		Plugins []struct {
			Parameters struct{ BarmanObjectName string }
		}
	}
}

func example(t *testing.T) (c cnpgCluster, services []corev1.Service, stores []string) {
	t.Helper()
	for _, file := range []string{"cluster.yaml", "services.yaml"} {
		text, err := os.ReadFile(exampleDir + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range releaseutil.SplitManifests(string(text)) {
			var object cnpgCluster
			if err := yaml.Unmarshal([]byte(document), &object); err != nil {
				t.Fatal(err)
			}
			switch object.Kind {
			case "Cluster":
				c = object
			case "ObjectStore":
				stores = append(stores, object.Metadata.Name)
			case "Service":
				var s corev1.Service
				if err := yaml.UnmarshalStrict([]byte(document), &s); err != nil {
					t.Fatal(err)
				}
				services = append(services, s)
			}
		}
	}
	return c, services, stores
}

// Cluster, services and values of the example name each other; here they are held together.
func TestCloudNativePGExampleHangsTogether(t *testing.T) {
	c, services, stores := example(t)
	instances := readValues(t, exampleDir+"instances-values.yaml")
	rw := readValues(t, exampleDir+"rw-values.yaml")
	cluster, ns := c.Metadata.Name, c.Metadata.Namespace

	var hosts, targets []string
	for _, s := range services {
		hosts = append(hosts, s.Name+"."+s.Namespace+".svc")
		if s.Spec.Selector["cnpg.io/cluster"] != cluster || s.Spec.Selector["cnpg.io/instanceName"] != s.Name ||
			!s.Spec.PublishNotReadyAddresses {
			t.Errorf("service %s selects %v", s.Name, s.Spec.Selector)
		}
	}
	fleet := instances["fleet"].(map[string]any)["config"].(map[string]any)
	for _, target := range fleet["targets"].([]any) {
		address := target.(map[string]any)["address"].(string)
		targets = append(targets, strings.TrimSuffix(address, ":5432/postgres"))
		if got := target.(map[string]any)["labels"].(map[string]any)["cluster"]; got != cluster {
			t.Errorf("%s is of cluster %v", address, got)
		}
	}
	slices.Sort(hosts) // documents come in no order
	if len(services) != c.Spec.Instances || !slices.Equal(hosts, targets) || !slices.Equal(hosts, c.Spec.Certificates.ServerAltDNSNames) {
		t.Errorf("%d instances, services %v, targets %v, in the certificate %v", c.Spec.Instances, hosts, targets,
			c.Spec.Certificates.ServerAltDNSNames)
	}

	database := rw["database"].(map[string]any)
	if database["host"] != cluster+"-rw."+ns+".svc" || rw["cluster"] == cluster {
		t.Errorf("rw-values.yaml: host %v, cluster %v: the primary twice in one cluster is a split brain", database["host"], rw["cluster"])
	}
	secrets := map[string]any{
		"reliability_exporter": database["existingSecret"],
		"reliability_backup":   rw["backup"].(map[string]any)["existingSecret"],
	}
	for _, role := range c.Spec.Managed.Roles {
		if secrets[role.Name] != role.PasswordSecret.Name {
			t.Errorf("%s: the password is in %s, the values name %v", role.Name, role.PasswordSecret.Name, secrets[role.Name])
		}
		delete(secrets, role.Name)
	}
	if len(secrets) > 0 {
		t.Errorf("no managed role for %v", secrets)
	}
	if got := instances["fleet"].(map[string]any)["existingSecret"]; got != database["existingSecret"] {
		t.Errorf("the fleet's password is in %v, the other's in %v", got, database["existingSecret"])
	}
	if len(c.Spec.Plugins) != 1 || !slices.Contains(stores, c.Spec.Plugins[0].Parameters.BarmanObjectName) {
		t.Errorf("plugins %v, object stores %v", c.Spec.Plugins, stores)
	}
}
