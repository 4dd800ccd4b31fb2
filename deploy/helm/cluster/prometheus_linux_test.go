package cluster_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	lastVerified = "pg_reliability_backup_last_verified_timestamp_seconds"
	lastSuccess  = "pg_reliability_backup_last_success_timestamp_seconds"
)

// scraped waits until the operator has led Prometheus to both targets and given it all rules, and each rule has been evaluated.
func (c *cluster) scraped() {
	c.eventually(reload, func() error {
		var found struct {
			ActiveTargets []struct {
				Labels            map[string]string
				Health, LastError string
			}
		}
		if err := c.prometheusAPI("targets?state=active", &found); err != nil {
			return err
		}
		var instances []string
		for _, target := range found.ActiveTargets {
			if target.Health != "up" {
				return fmt.Errorf("%v is %s: %s", target.Labels, target.Health, target.LastError)
			}
			for _, name := range []string{"pod", "container", "endpoint", "node"} {
				if target.Labels[name] != "" {
					c.t.Fatalf("a target has the label %s: %v", name, target.Labels)
				}
			}
			instances = append(instances, target.Labels["instance"]+" of "+target.Labels["cluster"])
		}
		slices.Sort(instances)
		if want := []string{"db/db1-pg-reliability of shop", "db/db1-pg-reliability-backup of shop"}; !slices.Equal(instances, want) {
			return fmt.Errorf("targets %q, want %q", instances, want)
		}
		return nil
	})
	var rule struct {
		Spec struct {
			Groups []struct {
				Name  string
				Rules []struct{}
			}
		}
	}
	c.kubectl.get(&rule, "prometheusrule", "--namespace", namespace, "db1-pg-reliability")
	want := map[string]int{}
	for _, group := range rule.Spec.Groups {
		want[group.Name] = len(group.Rules)
	}
	if len(want) == 0 {
		c.t.Fatal("the release has no groups of rules")
	}
	c.eventually(reload, func() error {
		var found struct {
			Groups []struct {
				Name     string
				Interval float64 // seconds
				Rules    []struct{ Name, Query, Health, LastError string }
			}
		}
		if err := c.prometheusAPI("rules", &found); err != nil {
			return err
		}
		got := map[string]int{}
		for _, group := range found.Groups {
			got[group.Name] = len(group.Rules)
			for _, r := range group.Rules {
				if r.Health == "unknown" && group.Interval > 60 { // not evaluated for a while
					if _, err := c.query(r.Query); err != nil {
						return fmt.Errorf("the rule %s: %w", r.Name, err)
					}
				} else if r.Health != "ok" {
					return fmt.Errorf("the rule %s is %s: %s", r.Name, r.Health, r.LastError)
				}
			}
		}
		if !maps.Equal(got, want) {
			return fmt.Errorf("groups %v, want %v", got, want)
		}
		return nil
	})
	c.t.Logf("groups of rules, and how many are in each: %v", want)
}

// prometheusAPI reads what the operator's Prometheus answers.
func (c *cluster) prometheusAPI(path string, into any) error {
	ip, err := c.kubectl.try("get", "pod", "--namespace=monitoring", "prometheus-test-0", "--output=jsonpath={.status.podIP}")
	if err != nil {
		return err
	}
	if ip == "" {
		return errors.New("prometheus has no address yet")
	}
	page, err := fetch(ip + ":9090/api/v1/" + path)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(page), &struct{ Data any }{into})
}

// query asks Prometheus for the value of each series, by the instance.
func (c *cluster) query(expression string) (map[string]string, error) {
	var answer struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any
		}
	}
	if err := c.prometheusAPI("query?query="+url.QueryEscape(expression), &answer); err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, series := range answer.Result {
		found[series.Metric["instance"]] = fmt.Sprint(series.Value[1])
	}
	return found, nil
}

// firing is nil where Prometheus announces an alert, with these labels; its other labels don't count.
func (c *cluster) firing(alert string, labels map[string]string) error {
	var found struct {
		Alerts []struct {
			Labels map[string]string
			State  string
		}
	}
	if err := c.prometheusAPI("alerts", &found); err != nil {
		return err
	}
	for _, a := range found.Alerts {
		if a.Labels["alertname"] != alert || a.State != "firing" {
			continue
		}
		for name, value := range labels {
			if a.Labels[name] != value {
				return fmt.Errorf("%s has the labels %v, want %v", alert, a.Labels, labels)
			}
		}
		return nil
	}
	return fmt.Errorf("%s is not firing: %v", alert, found.Alerts)
}

// metric is the sum of a name's samples on a service's page; it is an error where there are none.
func (c *cluster) metric(service, name string) (float64, error) {
	page, err := fetch(c.service(service) + "/metrics")
	if err != nil {
		return 0, err
	}
	sum, found := 0.0, false
	for line := range strings.Lines(page) {
		if rest, ok := strings.CutPrefix(line, name); ok && (rest[0] == ' ' || rest[0] == '{') {
			value, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' '):]), 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", line, err)
			}
			sum, found = sum+value, true
		}
	}
	if !found {
		return 0, fmt.Errorf("%s shows no %s", service, name)
	}
	return sum, nil
}

// want waits for a metric of the exporter.
func (c *cluster) want(name string, value float64) {
	c.t.Helper()
	c.eventually(patience, func() error {
		got, err := c.metric("db1-pg-reliability", name)
		if err == nil && got != value {
			err = fmt.Errorf("%s is %v, want %v", name, got, value)
		}
		return err
	})
}
