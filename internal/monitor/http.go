package monitor

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/pg-reliability/pg_reliability_exporter/internal/containers"
	"github.com/pg-reliability/pg_reliability_exporter/internal/smallfile"
	"github.com/pg-reliability/pg_reliability_exporter/internal/status"
)

const (
	// httpTimeout is for questions that have no deadline of their own.
	httpTimeout = 5 * time.Second
	// maxAnswer is far above any status.
	maxAnswer = 8 << 20
	// incidentsVersion is of the answer of /api/incidents.
	incidentsVersion = 1
)

// HTTPOptions say how to reach a program of ours.
type HTTPOptions struct {
	// URL such as http://localhost:9187, with a path where a proxy serves it below one.
	URL string
	// Username and PasswordFile are for basic authentication; the file is read at each request.
	Username, PasswordFile string
	// CAFile holds the certificates to trust besides the system's.
	CAFile string
	// TokenFile holds the token for backups.
	TokenFile string
}

// client asks one program.
type client struct {
	options HTTPOptions
	flag    string // that the address came from, for errors
	wants   string // what should answer there, for errors
	base    *url.URL
	http    *http.Client
}

func newClient(flag, wants string, o HTTPOptions) (*client, error) {
	base, err := url.Parse(strings.TrimSuffix(o.URL, "/"))
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("%s %q is not an address. HINT: Write http://host:port or https://host:port", flag, o.URL)
	}
	if base.User != nil {
		return nil, fmt.Errorf("%s holds a user name, which everybody on this machine could read. HINT: Use --username and --password-file", flag)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if o.CAFile != "" {
		pem, err := smallfile.Read(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--ca-file: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca-file: %s holds no certificate in PEM form", o.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &client{options: o, flag: flag, wants: wants, base: base, http: &http.Client{Transport: transport, CheckRedirect: sameHost}}, nil
}

// sameHost follows redirects to where we were going only, and none that gives up TLS: the token is for nobody else, and
// net/http would pass it on.
func sameHost(next *http.Request, before []*http.Request) error {
	first := before[0].URL
	if next.URL.Hostname() != first.Hostname() || first.Scheme == "https" && next.URL.Scheme != "https" || len(before) > 3 {
		return http.ErrUseLastResponse
	}
	return nil
}

// ask returns the answer's status and body. The path is below the address's own.
func (c *client) ask(ctx context.Context, method, path, query string) (int, []byte, error) {
	if _, has := ctx.Deadline(); !has {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, httpTimeout)
		defer cancel()
	}
	u := c.base.JoinPath(path)
	u.RawQuery = query
	req, err := http.NewRequestWithContext(ctx, method, u.String(), http.NoBody)
	if err != nil {
		return 0, nil, fmt.Errorf("ask %s: %w", c.base, err)
	}
	if err := c.authenticate(req); err != nil {
		return 0, nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, c.explain(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, nil, c.explain(err)
	}
	return resp.StatusCode, body, nil
}

func (c *client) authenticate(req *http.Request) error {
	if c.options.Username != "" {
		password, err := secret("--password-file", c.options.PasswordFile)
		if err != nil {
			return err
		}
		req.SetBasicAuth(c.options.Username, password)
	}
	if c.options.TokenFile == "" {
		return nil
	}
	token, err := secret("--backup.token-file", c.options.TokenFile)
	if err != nil {
		return err
	}
	req.Header.Set("X-Backup-Token", token)
	return nil
}

func secret(flag, file string) (string, error) {
	if file == "" {
		return "", fmt.Errorf("%s is missing", flag)
	}
	b, err := smallfile.Read(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	return strings.TrimSpace(string(b)), nil
}

// explain says what a failed connection means to a person.
func (c *client) explain(err error) error {
	var uerr *url.Error
	if errors.As(err, &uerr) {
		err = uerr.Err
	}
	hint := ""
	var nerr net.Error
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	switch {
	case containers.Refused(err):
		hint = fmt.Sprintf(". HINT: Is it running? %s names another address", c.flag)
	case errors.As(err, &dns):
		hint = fmt.Sprintf(". HINT: This machine does not know that name: compare the host in %s with one that it does", c.flag)
	case errors.As(err, &unknown):
		hint = ". HINT: Name the authority's certificate with --ca-file"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &nerr) && nerr.Timeout():
		hint = ". HINT: It accepts and does not answer, or a firewall drops what is sent"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), strings.Contains(err.Error(), "malformed HTTP"):
		hint = fmt.Sprintf(". HINT: What listens there speaks no HTTP; is it PostgreSQL's own port? %s is the address of %s", c.flag, c.wants)
	case strings.Contains(err.Error(), "gave HTTP response to HTTPS client"):
		hint = fmt.Sprintf(". HINT: It has no TLS: write http:// in %s, or give it a certificate with its --web.config.file", c.flag)
	}
	return fmt.Errorf("%s: %s%s", c.base, harmless(err.Error()), hint)
}

// refused says why an answer is of no use.
func (c *client) refused(code int, body []byte) error {
	hint := ""
	switch code {
	case http.StatusUnauthorized:
		hint = ". HINT: --username and --password-file are those of its --web.config.file"
	case http.StatusNotFound:
		switch {
		case bytes.Contains(body, []byte("/probe?target=")): // our own words, of a fleet
			hint = ". HINT: This exporter watches a fleet, which the boards of Grafana show; this screen is for one that has a server of its own"
		case c.base.Path != "" && c.base.Path != "/":
			hint = fmt.Sprintf(". HINT: Leave %s out of %s: the host and the port are enough, unless a proxy has the program there",
				c.base.Path, c.flag)
		default:
			hint = fmt.Sprintf(". HINT: Does %s lead to %s?", c.flag, c.wants)
		}
	}
	text, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	text = strings.TrimRight(harmless(text), ". ")
	return fmt.Errorf("%s answered with status %d: %.150s%s", c.base, code, text, hint)
}

// ExporterClient asks the exporter.
type ExporterClient struct{ *client }

// NewExporterClient checks the options and asks nothing.
func NewExporterClient(o HTTPOptions) (*ExporterClient, error) {
	c, err := newClient("--exporter.url", "pg_reliability_exporter, with its status page switched on", o)
	return &ExporterClient{c}, err
}

// Where implements StatusSource.
func (c *ExporterClient) Where() string { return c.base.String() }

// Status implements StatusSource.
func (c *ExporterClient) Status(ctx context.Context) (*status.Status, []byte, error) {
	code, body, err := c.ask(ctx, http.MethodGet, "api/status", "history=none")
	if err != nil {
		return nil, nil, err
	}
	if code != http.StatusOK {
		return nil, nil, c.refused(code, body)
	}
	var version struct {
		Version int `json:"schema_version"`
	}
	s := &status.Status{}
	if err := json.Unmarshal(body, &version); err != nil || version.Version == 0 {
		return nil, nil, fmt.Errorf("%s did not answer with a status. HINT: Does %s lead to pg_reliability_exporter?", c.base, c.flag)
	}
	if version.Version != status.SchemaVersion {
		return nil, nil, fmt.Errorf("%s speaks version %d of the status API, this program version %d. HINT: Use the monitor of the exporter's "+
			"release",
			c.base, version.Version, status.SchemaVersion)
	}
	if err := json.Unmarshal(body, s); err != nil {
		return nil, nil, fmt.Errorf("read the status of %s: %w", c.base, err)
	}
	disarm(s)
	return s, body, nil
}

// Incidents implements IncidentSource.
func (c *ExporterClient) Incidents(ctx context.Context) ([]Incident, error) {
	code, body, err := c.ask(ctx, http.MethodGet, "api/incidents", "")
	if err != nil {
		return nil, err
	}
	if code != http.StatusOK {
		return nil, c.refused(code, body)
	}
	var answer struct {
		Version   int        `json:"schema_version"`
		Incidents []Incident `json:"incidents"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Version != incidentsVersion {
		return nil, fmt.Errorf("%s did not answer with incidents as this program knows them. HINT: Use the monitor of the exporter's release",
			c.base)
	}
	disarm(&answer)
	return answer.Incidents, nil
}

// BackupClient asks the backup job.
type BackupClient struct{ *client }

// NewBackupClient checks the options and asks nothing.
func NewBackupClient(o HTTPOptions) (*BackupClient, error) {
	c, err := newClient("--backup.url", "`pg_reliability_backup schedule`", o)
	return &BackupClient{c}, err
}

// backupAnswer is that of /-/backup.
type backupAnswer struct {
	Waiting bool `json:"waiting"`
	Running *struct {
		Since time.Time `json:"since"`
		Phase string    `json:"phase"`
		Bytes int64     `json:"bytes"`
		Total int64     `json:"total_bytes"`
	} `json:"running"`
	Last *struct {
		Ended   time.Time `json:"ended_at"`
		Result  string    `json:"result"`
		ID      string    `json:"id"`
		State   string    `json:"state"`
		Message string    `json:"message"`
	} `json:"last"`
	Error string `json:"error"`
}

func (c *BackupClient) backup(ctx context.Context, method string) (int, backupAnswer, error) {
	var a backupAnswer
	code, body, err := c.ask(ctx, method, "-/backup", "")
	if err != nil {
		return 0, a, err
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return 0, a, c.refused(code, body)
	}
	disarm(&a)
	if code >= http.StatusBadRequest && code != http.StatusConflict {
		return 0, a, fmt.Errorf("%s: %s", c.base, a.Error)
	}
	return code, a, nil
}

// Start implements BackupService.
func (c *BackupClient) Start(ctx context.Context) (bool, error) {
	code, _, err := c.backup(ctx, http.MethodPost)
	return code == http.StatusAccepted, err
}

// Progress implements BackupService.
func (c *BackupClient) Progress(ctx context.Context) (BackupProgress, error) {
	_, a, err := c.backup(ctx, http.MethodGet)
	if err != nil {
		return BackupProgress{}, err
	}
	p := BackupProgress{Waiting: a.Waiting}
	if r := a.Running; r != nil {
		p.Running, p.Since, p.Phase, p.Bytes, p.Total = true, r.Since, r.Phase, r.Bytes, r.Total
	}
	if l := a.Last; l != nil {
		p.Last = &BackupEnd{Ended: l.Ended, OK: l.Result == "success", ID: l.ID, State: l.State, Message: l.Message}
	}
	return p, nil
}
