// Command grafana stands in for Grafana where its image can't be pulled: it reads the provisioning, the dashboards and
// the administrator's password as Grafana does, asks the provisioned Prometheus, and answers /api/health and /api/search.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type board struct {
	UID   string `json:"uid"`
	Title string `json:"title"`
}

func serve() error {
	password, err := os.ReadFile(os.Getenv("GF_SECURITY_ADMIN_PASSWORD__FILE"))
	if err != nil {
		return fmt.Errorf("read the administrator's password: %w", err)
	}
	var sources struct {
		Datasources []struct{ URL, Type string }
	}
	if err := readYAML("/etc/grafana/provisioning/datasources/*.yml", &sources); err != nil {
		return err
	}
	var providers struct {
		Providers []struct{ Options struct{ Path string } }
	}
	if err := readYAML("/etc/grafana/provisioning/dashboards/*.yml", &providers); err != nil {
		return err
	}
	var boards []board
	for _, p := range providers.Providers {
		files, err := filepath.Glob(filepath.Join(p.Options.Path, "*.json"))
		if err != nil {
			return err
		}
		for _, f := range files {
			var b board
			text, err := os.ReadFile(f)
			if err == nil {
				err = json.Unmarshal(text, &b)
			}
			if err != nil {
				return fmt.Errorf("dashboard %s: %w", f, err)
			}
			boards = append(boards, b)
		}
	}
	// As Grafana keeps its database there.
	if err := os.WriteFile("/var/lib/grafana/grafana.db", []byte("stand-in"), 0o600); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/api/health", func(w http.ResponseWriter, r *http.Request) {
		for _, s := range sources.Datasources {
			if s.Type != "prometheus" {
				continue
			}
			if err := ready(r.Context(), os.ExpandEnv(s.URL)); err != nil {
				http.Error(w, fmt.Sprintf("data source %s: %v", s.URL, err), http.StatusServiceUnavailable)
				return
			}
		}
		fmt.Fprintln(w, `{"database": "ok"}`)
	})
	mux.HandleFunc("/api/search", func(w http.ResponseWriter, r *http.Request) {
		user, given, _ := r.BasicAuth()
		if user != "admin" || given != strings.TrimSpace(string(password)) {
			http.Error(w, `{"message":"Unauthorized"}`, http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(boards)
	})
	server := &http.Server{Addr: ":3000", Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServe()
}

// ready asks Prometheus, as Grafana's check of a data source does.
func ready(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/-/ready", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it says %s", resp.Status)
	}
	return nil
}

func readYAML(pattern string, into any) error {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no provisioning at %s: %w", pattern, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err == nil {
			err = yaml.Unmarshal(text, into)
		}
		if err != nil {
			return fmt.Errorf("provisioning %s: %w", f, err)
		}
	}
	return nil
}
