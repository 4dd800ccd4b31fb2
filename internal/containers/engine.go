// Package containers is a client of the few words of the Docker Engine API that are needed here: what a container is up
// to, its log, and a restart of it. Podman's compatible API answers them, too.
package containers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"
	"syscall"
	"time"
)

const (
	defaultEngineTimeout = 5 * time.Second
	// MaxInspection is the longest answer that is read, in bytes. One is some 10 KB; a container with thousands of
	// mounts or labels stays below this.
	MaxInspection = 4 << 20
)

var (
	containerName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)
	containerIDs  = regexp.MustCompile(`/containers/[^/]+/`)
)

// Engine is a container engine at an address. It keeps no connection.
type Engine struct {
	host    string // as the user wrote it, for errors
	base    string
	client  *http.Client
	timeout time.Duration
}

// Inspection holds what is read of GET /containers/NAME/json. The rest of that answer, with the container's
// environment and so its secrets, is never kept.
type Inspection struct {
	ID           string `json:"Id"`
	RestartCount int
	State        State
	HostConfig   struct{ Memory int64 }
	Config       struct {
		Image string
		// Tty: the log is as the program wrote it; without, in frames.
		Tty bool
	}
}

// State of a container.
type State struct {
	Status                string
	OOMKilled             bool
	ExitCode              int
	StartedAt, FinishedAt time.Time
	// Health is nil without a health check in Docker, and has no status then in Podman.
	Health *struct{ Status string }
}

// Word is the state as Docker names it: created, running, paused, restarting, removing, exited or dead. Podman has more
// words for some.
func (s State) Word() string {
	switch s.Status {
	case "configured", "initialized":
		return "created"
	case "stopping", "stopped":
		return "exited"
	}
	return s.Status
}

// HasHealth says whether there is a health check.
func (s State) HasHealth() bool {
	return s.Health != nil && s.Health.Status != "" && s.Health.Status != "none"
}

// CheckName says what is wrong with a container's name.
func CheckName(name string) error {
	if !containerName.MatchString(name) {
		return fmt.Errorf("%q can't be the name of a container. HINT: Give the name or id that `docker ps` shows", name)
	}
	return nil
}

// NewEngine checks the address: unix:///path or tcp://host:port, on Windows npipe:////./pipe/name, empty for Docker's own.
// It asks nothing. The timeout is of a question; zero means 5 s.
func NewEngine(host string, timeout time.Duration) (*Engine, error) {
	if host == "" {
		host = defaultEngineHost
	}
	network, address, err := parseEngineHost(host, defaultEngineHost)
	if err != nil {
		return nil, err
	}
	if timeout <= 0 {
		timeout = defaultEngineTimeout
	}
	e := &Engine{host: host, base: "http://container-engine", timeout: timeout}
	if network == "tcp" {
		e.base = "http://" + address
	}
	e.client = &http.Client{
		// A redirect could lead anywhere; engines do not send one for a well-formed path.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dial(ctx, network, address)
			},
			// One question in many seconds: a kept connection would only be a stale one after the
			// engine's restart.
			DisableKeepAlives: true,
		},
	}
	return e, nil
}

// parseEngineHost reads an address; that of Docker itself, as the system has it, is for the hint and says whether pipes
// have names here.
func parseEngineHost(host, usual string) (network, address string, err error) {
	hint := fmt.Sprintf(". HINT: Write %s or tcp://host:2375", usual)
	u, err := url.Parse(host)
	if err != nil {
		return "", "", fmt.Errorf("container engine %q is not an address%s", host, hint)
	}
	switch {
	case u.Scheme == "npipe" && strings.HasPrefix(usual, "npipe:"):
		if u.Host != "" || !strings.HasPrefix(u.Path, "//") {
			return "", "", fmt.Errorf("container engine %q does not name a pipe%s", host, hint)
		}
		return "npipe", strings.ReplaceAll(u.Path, "/", `\`), nil
	case u.Scheme == "unix" && u.Host == "" && path.IsAbs(u.Path):
		return "unix", u.Path, nil
	case u.Scheme == "unix":
		return "", "", fmt.Errorf("container engine %q has no absolute path to a socket%s", host, hint)
	case u.Scheme == "tcp" && u.User == nil && strings.Trim(u.Path, "/") == "" && u.Hostname() != "" && u.Port() != "":
		return "tcp", u.Host, nil
	case u.Scheme == "tcp":
		return "", "", fmt.Errorf("container engine %q is not tcp://host:port%s", u.Redacted(), hint)
	case u.Scheme == "":
		return "", "", fmt.Errorf("container engine %q does not say how to reach it%s", host, hint)
	}
	return "", "", fmt.Errorf("container engine: %s:// is not supported%s", u.Scheme, hint)
}

// Inspect asks for one container.
func (e *Engine) Inspect(ctx context.Context, name string) (Inspection, error) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	resp, err := e.ask(ctx, http.MethodGet, name, "json", nil)
	if err != nil {
		return Inspection{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxInspection+1))
	if err != nil {
		return Inspection{}, e.explain(err, http.MethodGet, "json")
	}
	if len(body) > MaxInspection {
		return Inspection{}, fmt.Errorf("container engine at %s: its answer for %s is longer than %d bytes", e.host, name, MaxInspection)
	}
	var answer Inspection
	if err := json.Unmarshal(body, &answer); err != nil {
		return Inspection{}, fmt.Errorf("container engine at %s: its answer for %s is not what the Docker Engine API says: %w. HINT: Is "+
			"another service listening there?", e.host, name, err)
	}
	if answer.ID == "" || answer.State.Status == "" {
		return Inspection{}, fmt.Errorf("container engine at %s: its answer for %s has no id or state. HINT: Is another service listening there?",
			e.host, name)
	}
	return answer, nil
}

// ask returns an answer that says yes. The path names no API version, so that old engines and new ones, which each
// refuse some versions, answer in their own; what is read here is the same in all of them.
func (e *Engine) ask(ctx context.Context, method, name, what string, query url.Values) (*http.Response, error) {
	return e.request(ctx, method, "/containers/"+url.PathEscape(name)+"/"+what, name, what, query)
}

// request asks for a path; name and what are for the words of a failure.
func (e *Engine) request(ctx context.Context, method, path, name, what string, query url.Values) (*http.Response, error) {
	u := e.base + path
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask the container engine at %s: %w", e.host, err)
	}
	resp, err := e.client.Do(req)
	if err != nil {
		return nil, e.explain(err, method, what)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, MaxInspection))
		if err != nil {
			return nil, e.explain(err, method, what)
		}
		return nil, e.explainStatus(name, resp, body)
	}
	return resp, nil
}

// Refused says whether nobody listened.
func Refused(err error) bool {
	const ofWindows = syscall.Errno(10061) // WSAECONNREFUSED, which is not the ECONNREFUSED that Go has there
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, ofWindows)
}

// explain says what a failed connection means to the user who wanted that of a container.
func (e *Engine) explain(err error, method, what string) error {
	var uerr *url.Error
	if errors.As(err, &uerr) {
		err = uerr.Err // its URL is made up where the engine listens on a socket
	}
	hint := ""
	var nerr net.Error
	switch {
	case errors.Is(err, fs.ErrPermission):
		hint = ". HINT: This program's user needs the group that owns the socket, or a proxy that allows " + method + " /containers/*/" + what +
			" alone"
	case errors.Is(err, fs.ErrNotExist):
		hint = ". HINT: Is the engine running? Inside a container, mount the socket"
	case Refused(err):
		hint = ". HINT: Is the engine running?"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &nerr) && nerr.Timeout():
		hint = ". HINT: The engine accepts but does not answer; see its log"
	}
	return fmt.Errorf("container engine at %s: %w%s", e.host, err, hint)
}

func (e *Engine) explainStatus(name string, resp *http.Response, body []byte) error {
	var said struct{ Message string }
	isEngine := json.Unmarshal(body, &said) == nil && said.Message != ""
	if !isEngine {
		said.Message = http.StatusText(resp.StatusCode)
	}
	hint := ""
	switch {
	case resp.StatusCode == http.StatusNotFound && isEngine:
		return fmt.Errorf("container engine at %s: there is no container %s. HINT: `docker ps --all` shows the names", e.host, name)
	case resp.StatusCode == http.StatusNotFound:
		hint = ". HINT: Is another service listening there?"
	case resp.StatusCode == http.StatusForbidden:
		hint = fmt.Sprintf(". HINT: A proxy before the engine must allow %s %s", resp.Request.Method,
			containerIDs.ReplaceAllString(resp.Request.URL.Path, "/containers/*/"))
	}
	return fmt.Errorf("container engine at %s: status %d for container %s: %.200q%s", e.host, resp.StatusCode, name, said.Message, hint)
}
