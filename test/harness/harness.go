// Package harness runs the built server as its users do, as a process of its
// own, and hands out real clients: the AWS SDK and a Cassandra driver. Tests
// and benchmarks of the whole product stand on it.
package harness

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/keyspaces"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// readyTimeout is generous: the machine may be busy with other work.
const readyTimeout = 60 * time.Second

// Profile is a set of credentials of credentials.json.
type Profile struct {
	AccessKeyID     string `json:"access_key_id"`
	SecretAccessKey string `json:"secret_access_key"`
	SessionToken    string `json:"-"`
	CQLUser         string `json:"cql_user"`
	CQLPassword     string `json:"cql_password"`
}

// Server is a running server process and what its clients need.
type Server struct {
	Dir      string
	Binary   string
	HTTP     string // http://host:port
	CQLHost  string
	CQLPort  int
	Region   string
	Account  string
	CAFile   string
	Profiles map[string]Profile
	// Others are the profiles of further accounts.
	Others map[string]map[string]Profile

	// Env is added to the process's environment at its next start.
	Env []string

	args []string
	cmd  *exec.Cmd
	log  *lockedBuffer
	done chan error
}

// lockedBuffer collects a process's output.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Build compiles the server into dir, with the build tags, and returns the
// binary's path.
func Build(ctx context.Context, dir string, tags ...string) (string, error) {
	bin := filepath.Join(dir, "spoor")
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", strings.Join(tags, ","), "-o", bin, "spoor/cmd/spoor")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the server: %w\n%s", err, out)
	}
	return bin, nil
}

var (
	buildOnce sync.Once
	buildDir  string // set by Main
	built     string
	buildErr  error
)

// Main runs a package's tests and removes what Start has built. TestMain ends
// with its result:
//
//	func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "spoor-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	buildDir = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// Start builds the server once for the test binary, whose TestMain calls Main,
// starts it on a data directory of the test's and stops it when the test ends.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	buildOnce.Do(func() {
		if buildDir == "" {
			buildErr = errors.New("TestMain does not call harness.Main")
			return
		}
		built, buildErr = Build(context.Background(), buildDir)
	})
	if buildErr != nil {
		t.Fatal(buildErr)
	}
	s := New(built, t.TempDir()+"/data", args...)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stopping the server: %v\n%s", err, s.Log())
		}
		if t.Failed() {
			t.Logf("the server's log:\n%s", s.Log())
		}
	})
	return s
}

// New describes a server that is not running yet.
func New(binary, dir string, args ...string) *Server {
	return &Server{Binary: binary, Dir: dir, args: args, log: &lockedBuffer{}}
}

// Launch runs the process and does not wait until it is ready.
func (s *Server) Launch() error {
	if err := os.Remove(filepath.Join(s.Dir, "endpoints.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	args := append([]string{"serve", "--data", s.Dir, "--http", "127.0.0.1:0", "--cql", "127.0.0.1:0"}, s.args...)
	s.cmd = exec.Command(s.Binary, args...)
	s.cmd.Env = append(os.Environ(), s.Env...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.done = make(chan error, 1)
	go func() { s.done <- s.cmd.Wait() }()
	return nil
}

// Start runs the process and returns when it is ready.
func (s *Server) Start(ctx context.Context) error {
	if err := s.Launch(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-s.done:
			s.done <- err
			return fmt.Errorf("the server ended before it was ready: %v\n%s", err, s.Log())
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready after %s\n%s", readyTimeout, s.Log())
		case <-tick.C:
		}
		if s.readEndpoints() == nil && s.healthy(ctx) {
			return nil
		}
	}
}

func (s *Server) readEndpoints() error {
	raw, err := os.ReadFile(filepath.Join(s.Dir, "endpoints.json"))
	if err != nil {
		return err
	}
	var ends struct {
		HTTP   string `json:"http"`
		CQL    string `json:"cql"`
		Region string `json:"region"`
		CAFile string `json:"ca_file"`
	}
	if err := json.Unmarshal(raw, &ends); err != nil {
		return err
	}
	s.HTTP, s.Region, s.CAFile = "http://"+ends.HTTP, ends.Region, ends.CAFile
	host, port, err := net.SplitHostPort(ends.CQL)
	if err != nil {
		return err
	}
	s.CQLHost = host
	if s.CQLPort, err = strconv.Atoi(port); err != nil {
		return err
	}
	if raw, err = os.ReadFile(filepath.Join(s.Dir, "credentials.json")); err != nil {
		return err
	}
	var creds struct {
		Account  string                        `json:"account"`
		Profiles map[string]Profile            `json:"profiles"`
		Accounts map[string]map[string]Profile `json:"accounts"`
	}
	if err := json.Unmarshal(raw, &creds); err != nil {
		return err
	}
	s.Account, s.Profiles, s.Others = creds.Account, creds.Profiles, creds.Accounts
	return nil
}

func (s *Server) healthy(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.HTTP+"/_spoor/health", nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// Attach reads what clients need of a server that somebody else started on a
// data directory.
func Attach(dir string) (*Server, error) {
	s := &Server{Dir: dir, log: &lockedBuffer{}}
	return s, s.readEndpoints()
}

// PID is the process's id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Log is what the server printed so far.
func (s *Server) Log() string { return s.log.String() }

// Kill ends the process as a power loss of the program would: SIGKILL.
func (s *Server) Kill() error {
	if err := s.cmd.Process.Kill(); err != nil {
		return err
	}
	<-s.done
	s.done = nil
	return nil
}

// Ended waits until the process has ended by itself; it is false when ctx
// ended first.
func (s *Server) Ended(ctx context.Context) bool {
	select {
	case <-s.done:
		s.done = nil
		return true
	case <-ctx.Done():
		return false
	}
}

// Stop ends the process in order.
func (s *Server) Stop() error {
	if s.done == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-s.done:
		s.done = nil
		return err
	case <-time.After(readyTimeout):
		return errors.Join(errors.New("the server does not stop"), s.Kill())
	}
}

// Spoor runs a subcommand of the binary and returns its output and exit code.
func (s *Server) Spoor(ctx context.Context, args ...string) (string, int, error) {
	cmd := exec.CommandContext(ctx, s.Binary, args...)
	cmd.Env = append(os.Environ(), s.Environ(s.Profiles["admin"])...)
	out, err := cmd.CombinedOutput()
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		return string(out), ee.ExitCode(), nil
	}
	return string(out), 0, err
}

// Environ is the environment in which a profile's AWS clients find the server.
func (s *Server) Environ(p Profile) []string {
	env := []string{"AWS_ENDPOINT_URL=" + s.HTTP, "AWS_ACCESS_KEY_ID=" + p.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + p.SecretAccessKey,
		"AWS_REGION=" + s.Region, "AWS_DEFAULT_REGION=" + s.Region, "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true", "AWS_SESSION_TOKEN=" + p.SessionToken}
	return env
}

// Clients are the SDK's clients of one identity.
type Clients struct {
	Athena     *athena.Client
	CloudTrail *cloudtrail.Client
	IAM        *iam.Client
	Keyspaces  *keyspaces.Client
	S3         *s3.Client
	STS        *sts.Client
	Config     aws.Config
}

// AWS makes clients for a profile. They do not retry: a test wants to see
// every answer.
func (s *Server) AWS(p Profile) Clients { return s.AWSIn(p, s.Region) }

// AWSIn is AWS for another region.
func (s *Server) AWSIn(p Profile, region string) Clients {
	cfg := aws.Config{
		Region: region, BaseEndpoint: aws.String(s.HTTP), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(p.AccessKeyID, p.SecretAccessKey, p.SessionToken),
		HTTPClient:  &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}},
	}
	return Clients{
		Athena: athena.NewFromConfig(cfg), CloudTrail: cloudtrail.NewFromConfig(cfg), IAM: iam.NewFromConfig(cfg),
		Keyspaces: keyspaces.NewFromConfig(cfg), STS: sts.NewFromConfig(cfg),
		S3: s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }), Config: cfg,
	}
}

// TLS trusts the server's CA and names the server as a client of Keyspaces
// would.
func (s *Server) TLS() (*tls.Config, error) {
	pem, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", s.CAFile)
	}
	return &tls.Config{RootCAs: pool, ServerName: "cassandra." + s.Region + ".amazonaws.com"}, nil
}

// Cluster configures the Cassandra driver for a profile's password login.
func (s *Server) Cluster(p Profile) (*gocql.ClusterConfig, error) {
	conf, err := s.TLS()
	if err != nil {
		return nil, err
	}
	c := gocql.NewCluster(s.CQLHost)
	c.Port = s.CQLPort
	c.ProtoVersion = 4
	c.Consistency = gocql.LocalQuorum
	c.NumConns = 1
	c.Timeout = 30 * time.Second
	c.ConnectTimeout = 30 * time.Second
	c.SslOpts = &gocql.SslOptions{Config: conf, EnableHostVerification: true}
	c.Authenticator = gocql.PasswordAuthenticator{Username: p.CQLUser, Password: p.CQLPassword}
	c.RetryPolicy = &gocql.SimpleRetryPolicy{NumRetries: 0}
	c.Logger = nopLogger{}
	return c, nil
}

type nopLogger struct{}

func (nopLogger) Error(string, ...gocql.LogField)   {}
func (nopLogger) Warning(string, ...gocql.LogField) {}
func (nopLogger) Info(string, ...gocql.LogField)    {}
func (nopLogger) Debug(string, ...gocql.LogField)   {}

// TrailPolicy is the bucket policy that lets CloudTrail deliver to a bucket.
func TrailPolicy(bucket, account string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"Service":"cloudtrail.amazonaws.com"},"Action":"s3:GetBucketAcl","Resource":"arn:aws:s3:::%[1]s"},
		{"Effect":"Allow","Principal":{"Service":"cloudtrail.amazonaws.com"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::%[1]s/AWSLogs/%[2]s/*",
		 "Condition":{"StringEquals":{"s3:x-amz-acl":"bucket-owner-full-control"}}}]}`, bucket, account)
}
