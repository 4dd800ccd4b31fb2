// Package offsite keeps copies of backups in a store that speaks S3, in clear or encrypted with age.
//
// A copy exists when its index does. The order is the promise: data, sums, manifest, then all of it is
// read back and compared, and the index is written last. So a copy that is listed was once read whole
// from the other place and was equal; a job killed at any moment leaves none that is not, and the next run goes
// on where it stopped. Deleting goes the other way round: the index first.
//
// The job holds recipients only: who gets hold of its machine or of the bucket can't read the
// copies. What the index shows in clear: ids, times, sizes, digests of what is stored, file names.
// Not promised: protection from someone who may delete from the bucket (use the bucket's own object lock
// or versions for that), nor from a provider that changes content later: `fetch` notices it.
//
// docs/backup-offsite.md has the layout.
package offsite

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/go-kit/log"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/pg-reliability/pg_reliability_exporter/backup/catalog"
	"github.com/pg-reliability/pg_reliability_exporter/backup/failure"
	"github.com/pg-reliability/pg_reliability_exporter/backup/retention"
)

const (
	awsEndpoint    = "s3.amazonaws.com"
	defaultStall   = 2 * time.Minute
	defaultRetries = 3
	defaultKeep    = 7
)

// Options of a store. Secrets in it are never logged or put into errors.
type Options struct {
	// URL is s3://BUCKET or s3://BUCKET/PREFIX. The bucket must exist.
	URL string
	// Endpoint is https://HOST[:PORT], http:// for a network one trusts; "" means Amazon's.
	Endpoint string
	// Region of the bucket; "" asks the store.
	Region string
	// AccessKey and SecretKey, with SessionToken where there is one. All empty: CredentialsFile; that
	// empty too: the machine's own role (instance profile, web identity).
	AccessKey, SecretKey, SessionToken string
	// CredentialsFile is a file in the form of ~/.aws/credentials, and Profile a section of it; ""
	// means default.
	CredentialsFile, Profile string
	// Recipients encrypt copies, as age's public keys (age1...); none stores them in clear.
	Recipients []string
	// Cheap reads only the manifest and the index back, and asks for sizes of the rest: for stores
	// that charge for reading.
	Cheap bool
	// Policy says what stays in the store; its zero value keeps the 7 newest.
	Policy retention.Policy
	// Stall ends a transfer that moved less than 256 kB in so long, and an answer that takes longer; 0 means 2 minutes.
	Stall time.Duration
	// Timeout ends a Copy, Prune, List or Fetch that takes longer; 0 means never.
	Timeout time.Duration
	// Retries is how often a transfer is tried again; 0 means 3, negative never.
	Retries int
	// Transport replaces HTTP's; nil means one with sensible timeouts.
	Transport http.RoundTripper
	// Repository is the local catalogue copies are of, or are fetched into.
	Repository *catalog.Repository
	Log        log.Logger
	Now        func() time.Time // nil means time.Now
	// Progress is called now and then, if not nil.
	Progress func(phase string, done, total int64)
}

// Store keeps copies.
type Store struct {
	o          Options
	client     *minio.Client
	bucket     string
	prefix     string // "" or "a/b/"
	recipients []age.Recipient
}

// New checks the options. It talks to nobody.
func New(o Options) (*Store, error) {
	s := &Store{o: o}
	if err := s.parse(); err != nil {
		return nil, err
	}
	if s.o.Stall <= 0 {
		s.o.Stall = defaultStall
	}
	if s.o.Retries == 0 {
		s.o.Retries = defaultRetries
	}
	if s.o.Now == nil {
		s.o.Now = time.Now
	}
	if s.o.Log == nil {
		s.o.Log = log.NewNopLogger()
	}
	if s.o.Policy == (retention.Policy{}) {
		s.o.Policy.Keep = defaultKeep
	}
	if err := s.o.Policy.Check(); err != nil {
		return nil, err
	}
	var err error
	if s.recipients, err = parseRecipients(o.Recipients); err != nil {
		return nil, err
	}
	if err := s.connect(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) parse() error {
	u, err := url.Parse(s.o.URL)
	if err != nil || u.Scheme != "s3" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return failure.New(failure.Config, "off-site: the URL is not of the form s3://bucket/prefix").
			WithHint("Credentials and the endpoint are given apart: --offsite-endpoint, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY.")
	}
	s.bucket = u.Host
	if p := strings.Trim(path.Clean("/"+u.Path), "/"); p != "" {
		s.prefix = p + "/"
	}
	if (s.o.AccessKey == "") != (s.o.SecretKey == "") {
		return failure.New(failure.Config, "off-site: only one of access key and secret key is given").
			WithHint("Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, each perhaps as NAME_FILE.")
	}
	return nil
}

func (s *Store) connect() error {
	endpoint, secure := awsEndpoint, true
	if s.o.Endpoint != "" {
		u, err := url.Parse(s.o.Endpoint)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || strings.Trim(u.Path, "/") != "" {
			return failure.New(failure.Config, "off-site: the endpoint is not of the form https://host:port").
				WithHint("A path belongs into the URL s3://bucket/prefix.")
		}
		endpoint, secure = u.Host, u.Scheme == "https"
	}
	transport := s.o.Transport
	if transport == nil {
		t, err := minio.DefaultTransport(secure)
		if err != nil {
			return failure.New(failure.Config, "off-site: %w", err)
		}
		t.ResponseHeaderTimeout = s.o.Stall
		if secure && t.TLSClientConfig == nil {
			t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		transport = t
	}
	transport = answers{quickAbort{transport, min(s.o.Stall, abortPatience)}, s.o.Stall}
	var err error
	s.client, err = minio.New(endpoint, &minio.Options{
		Creds: s.credentials(), Secure: secure, Region: s.o.Region, Transport: transport, MaxRetries: 1, // ours are visible
	})
	if err != nil {
		return failure.New(failure.Config, "off-site: %w", err)
	}
	return nil
}

func (s *Store) credentials() *credentials.Credentials {
	switch {
	case s.o.AccessKey != "":
		return credentials.NewStaticV4(s.o.AccessKey, s.o.SecretKey, s.o.SessionToken)
	case s.o.CredentialsFile != "":
		return credentials.NewFileAWSCredentials(s.o.CredentialsFile, s.o.Profile)
	}
	return credentials.NewIAM("")
}

// root is where the copies of one repository are.
func (s *Store) root(repositoryID string) string { return s.prefix + repositoryID + "/" }

// dir is where the copy of one backup is.
func (s *Store) dir(repositoryID, id string) string { return s.root(repositoryID) + id + "/" }

// Target names where the copies of a repository are, without a secret.
func (s *Store) Target(repositoryID string) string {
	return "s3://" + s.bucket + "/" + strings.TrimSuffix(s.root(repositoryID), "/")
}

func (s *Store) report(phase string, done, total int64) {
	if s.o.Progress != nil {
		s.o.Progress(phase, done, total)
	}
}
