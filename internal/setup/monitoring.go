package setup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/deploy/grafana"
	"github.com/pg-reliability/pg_reliability_exporter/internal/atomicfile"
)

const (
	rules  = "/usr/share/pg_reliability/alerts/*.rules.yml"
	boards = "/usr/share/pg_reliability/dashboards"

	exporterJob, backupJob = "postgres", "postgres_backup"
	yamlIndent             = 2
	publicMode             = 0o644
)

// monitoring tells Prometheus and Grafana, or says what they have to be told.
func (s *setup) monitoring(context.Context) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	if s.Prometheus == "" {
		fmt.Fprintf(s.out, "\nPrometheus needs these lines. Where it runs on this machine, --prometheus=/etc/prometheus/prometheus.yml "+
			"writes them.\n\nrule_files:\n  - %s\nscrape_configs:\n%s", rules, s.jobs(host, host))
	} else if err := s.prometheus(host); err != nil {
		return err
	}
	if s.Grafana == "" {
		fmt.Fprintf(s.out, "\nThe boards for Grafana are in %s. Where it runs on this machine, --grafana=/etc/grafana/provisioning "+
			"brings them in.\n", boards)
		return nil
	}
	return s.grafana()
}

// jobs are the scrape jobs as YAML. What the backup job did is on the exporter's page, which reads the repository by itself: the
// same metrics twice would be the same alert twice. pg_reliability_backup_build_info stays: by it PostgresBackupJobSilent knows the job.
func (s *setup) jobs(at, instance string) string {
	text := fmt.Sprintf(`  - job_name: %s
    static_configs:
      - targets: [%q]
        labels: {cluster: main, instance: %q}
`, exporterJob, at+":"+s.exporterPort(), instance)
	if s.Backups {
		text += fmt.Sprintf(`  - job_name: %s
    static_configs:
      - targets: [%q]
        labels: {instance: %q}
    metric_relabel_configs:
      - {source_labels: [__name__], regex: 'pg_reliability_(backup_([^b]|b[^u])|r[pt]o_).*', action: drop}
`, backupJob, at+":"+s.backupPort(), instance+"-backup")
	}
	return text
}

// prometheus puts our rules and jobs into a configuration where they are missing, and leaves all else as it is.
func (s *setup) prometheus(host string) error {
	text, err := readSmall(s.Prometheus)
	if err != nil {
		return failure.New(failure.Config, "read Prometheus' configuration: %w", err).WithHint("Install Prometheus, or leave --prometheus out.")
	}
	root := &yaml.Node{} // the document, for its comments
	if err := yaml.Unmarshal([]byte(text), root); err != nil {
		return failure.New(failure.Config, "%s is no configuration of Prometheus: %w", s.Prometheus, err).
			WithHint("promtool check config says what is wrong with it.")
	}
	if root.Kind != yaml.DocumentNode {
		return failure.New(failure.Config, "%s: %w", s.Prometheus, errNoMapping)
	}
	var added []string
	if !holds(root, rules) {
		if err := add(root, "rule_files", "- "+rules); err != nil {
			return failure.New(failure.Config, "%s: %w", s.Prometheus, err)
		}
		added = append(added, "the rules of the alerts")
	}
	var jobs []map[string]any
	if err := yaml.Unmarshal([]byte(s.jobs("localhost", host)), &jobs); err != nil {
		return err
	}
	for _, job := range jobs {
		name, _ := job["job_name"].(string)
		targets := fmt.Sprintf("localhost:%s", map[string]string{exporterJob: s.exporterPort(), backupJob: s.backupPort()}[name])
		if holds(root, name) || holds(root, targets) {
			continue
		}
		one, err := yaml.Marshal([]any{job})
		if err == nil {
			err = add(root, "scrape_configs", string(one))
		}
		if err != nil {
			return failure.New(failure.Config, "%s: %w", s.Prometheus, err)
		}
		added = append(added, "the job "+name)
	}
	if len(added) == 0 {
		s.kept("%s has the rules and the jobs", s.Prometheus)
		return nil
	}
	err = s.change(func() error { return replace(s.Prometheus, text, root) },
		"add to %s: %s; the file as it was is kept beside it as %s", s.Prometheus, strings.Join(added, ", "), filepath.Base(s.Prometheus)+former)
	if err == nil {
		s.note("Prometheus reads it with: systemctl restart prometheus")
	}
	return err
}

var errNoMapping = errors.New("it holds no mapping of names to values. HINT: promtool check config says what is wrong with it")

// former is what a file that is replaced is called afterwards.
const former = ".before-setup"

func replace(file, old string, root *yaml.Node) error {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(yamlIndent)
	if err := errors.Join(e.Encode(root), e.Close()); err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(file+former, []byte(old), info.Mode().Perm()); err != nil {
		return err
	}
	return atomicfile.Write(file, b.Bytes(), info.Mode().Perm())
}

// holds says whether a value stands anywhere in a document.
func holds(n *yaml.Node, value string) bool {
	if n.Kind == yaml.ScalarNode && n.Value == value {
		return true
	}
	for _, c := range n.Content {
		if holds(c, value) {
			return true
		}
	}
	return false
}

// add appends the items of a YAML list to the list that a key of the document's mapping holds, and makes that where there is none.
func add(root *yaml.Node, key, items string) error {
	var list yaml.Node
	if err := yaml.Unmarshal([]byte(items), &list); err != nil {
		return err
	}
	m := root.Content[0]
	if m.Kind != yaml.MappingNode {
		return errNoMapping
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value != key {
			continue
		}
		v := m.Content[i+1]
		if v.Kind == yaml.ScalarNode && v.Tag == "!!null" {
			comment := v.FootComment
			*v = *list.Content[0]
			v.FootComment = comment
			return nil
		}
		if v.Kind != yaml.SequenceNode {
			return fmt.Errorf("%s is no list", key)
		}
		v.Style = 0 // one item a line
		v.Content = append(v.Content, list.Content[0].Content...)
		return nil
	}
	m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, list.Content[0])
	return nil
}

// grafana writes where the boards are and where their data is.
func (s *setup) grafana() error {
	if _, err := os.Stat(s.Grafana); err != nil {
		return failure.New(failure.Config, "Grafana's directory of provisioning: %w", err).WithHint("Install Grafana, or leave --grafana out.")
	}
	changed := false
	for name, text := range map[string]string{
		"dashboards": strings.Replace(grafana.Dashboards, "/var/lib/grafana/dashboards/postgresql", boards, 1),
		"datasources": strings.NewReplacer("$PROMETHEUS_URL", "http://localhost:9090", "$ALERTMANAGER_URL", "http://localhost:9093").
			Replace(grafana.Datasources),
	} {
		file := filepath.Join(s.Grafana, name, "pg_reliability.yml")
		is, err := readSmall(file)
		switch {
		case err == nil && is == text:
			s.kept("%s", file)
			continue
		case err == nil:
			s.note("%s is not as setup writes it, and stays as it is", file)
			continue
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		changed = true
		err = s.change(func() error {
			if err := os.MkdirAll(filepath.Dir(file), publicMode|0o111); err != nil {
				return err
			}
			return atomicfile.Write(file, []byte(text), publicMode)
		}, "write %s", file)
		if err != nil {
			return err
		}
	}
	if changed {
		s.note("Grafana reads it with: systemctl restart grafana-server")
	}
	return nil
}
