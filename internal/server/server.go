// Package server is the composition root: it turns a configuration into
// stores, engines, services and listeners, and stops them in order. It is the
// only package that sees all others, and it holds no behaviour of its own
// beyond joining them.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"spoor/internal/aggregate"
	"spoor/internal/athena"
	"spoor/internal/aws"
	"spoor/internal/awshttp"
	"spoor/internal/call"
	"spoor/internal/cloudtrail"
	"spoor/internal/columnar"
	"spoor/internal/config"
	"spoor/internal/cql/frame"
	cqlserver "spoor/internal/cql/server"
	"spoor/internal/engine/duckdb"
	"spoor/internal/engine/pebble"
	"spoor/internal/glue"
	"spoor/internal/guard"
	"spoor/internal/history"
	"spoor/internal/iam"
	"spoor/internal/insights"
	"spoor/internal/journal"
	"spoor/internal/keyspaces"
	"spoor/internal/kv"
	"spoor/internal/lake"
	"spoor/internal/notify"
	"spoor/internal/objects"
	"spoor/internal/oidc"
	"spoor/internal/s3"
	"spoor/internal/sts"
	"spoor/internal/tail"
	"spoor/internal/trail"
)

const (
	// stopTimeout is how long calls under way may take when the server stops.
	stopTimeout = 20 * time.Second
	// exitStore is the exit code of a server whose store cannot be written.
	exitStore = 74 // EX_IOERR of sysexits.h
	// saveLastUsed is how often the credentials' last use is written down.
	saveLastUsed = time.Minute

	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
)

// Server is a running server.
type Server struct {
	cfg    config.Config
	log    *slog.Logger
	fresh  bool
	sealer string // which master key it is and where, for the greeting

	// credentials is held while credentials.json changes.
	credentials sync.Mutex

	store     *kv.Store
	journal   *journal.Journal
	objects   *objects.Store
	directory *iam.Directory
	auth      *authenticator
	issuers   *oidc.Verifier
	history   *history.Index
	notify    *notify.Manager
	sns       *notify.SNSKey // nil without topics
	insights  *insights.Manager
	trails    *trail.Manager
	lake      *lake.Manager
	catalog   *glue.Catalog
	registry  *s3.Registry
	keyspaces *keyspaces.Service
	engine    *duckdb.Engine
	athena    *athena.Service
	path      *call.Path
	handler   *awshttp.Handler

	http  *http.Server
	debug *http.Server // nil without --debug
	cql   *cqlserver.Server
	ends  Endpoints

	readers context.Context // of the journal's readers
	cancel  context.CancelFunc
	// tails ends the live streams, which would hold up an orderly stop.
	tails     context.Context
	stopTails context.CancelFunc
	group     sync.WaitGroup
	failed    chan error
}

// Start starts a server on a data directory and returns when it is ready. What
// it started is stopped by Stop, or here when something fails.
func Start(ctx context.Context, cfg config.Config, log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(cfg.Data)
	if err != nil {
		return nil, fmt.Errorf("finding the data directory: %w", err)
	}
	cfg.Data = dir
	s := &Server{cfg: cfg, log: log, failed: make(chan error, 8)}
	if s.fresh, err = checkDir(dir); err != nil {
		return nil, err
	}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) open(ctx context.Context) error {
	steps := []func(context.Context) error{s.openStores, s.openIdentities, s.openTrails, s.openServices, s.openHTTP, s.runNotify, s.openCQL, s.openDebug, s.announce}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) openStores(ctx context.Context) (err error) {
	s.store, err = kv.Open(filepath.Join(s.cfg.Data, "store"), kv.Options{
		CacheBytes: int64(s.cfg.CacheMB) << 20, Merger: pebble.Merger(), Logger: s.log, Fatal: s.end})
	if err != nil {
		return err
	}
	// Old addresses would lead clients to whoever listens there now.
	if err := os.Remove(filepath.Join(s.cfg.Data, endpointsFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the old addresses: %w", err)
	}
	if s.journal, err = journal.Open(s.store, s.log); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	s.objects, err = objects.Open(ctx, objects.Config{Dir: filepath.Join(s.cfg.Data, "objects"), Command: []string{self, "gateway"}, Log: s.log,
		Endpoint: strings.TrimSuffix(s.cfg.S3Endpoint, "/"), Region: s.cfg.S3Region, Access: s.cfg.S3AccessKeyID, Secret: s.cfg.S3SecretAccessKey,
		Plain: s.cfg.S3Encryption == "none"})
	return err
}

// end ends the process at once: the store cannot be written, so no call may be
// answered any more, and nothing in memory is worth waiting for.
func (s *Server) end(msg string) {
	s.log.Error("the server ends", "reason", msg)
	os.Exit(exitStore)
}

func (s *Server) openIdentities(context.Context) error {
	sealer, err := s.openKey()
	if err != nil {
		return err
	}
	if s.directory, err = iam.Open(iam.Config{Store: s.store, Sealer: sealer, Log: s.log}); err != nil {
		return err
	}
	for _, id := range append([]string{s.cfg.Account}, s.cfg.Accounts...) {
		if s.directory.HasAccount(id) {
			continue
		}
		if err := s.directory.Bootstrap(id, s.keepCredentials); err != nil {
			return err
		}
	}
	issuers := make([]oidc.Issuer, 0, len(s.cfg.OIDCIssuer))
	for _, text := range s.cfg.OIDCIssuer {
		issuer, err := oidc.ParseIssuer(text)
		if err != nil {
			return err
		}
		issuers = append(issuers, issuer)
	}
	if s.issuers, err = oidc.NewVerifier(issuers, time.Now); err != nil {
		return err
	}
	s.auth = &authenticator{directory: s.directory, guard: guard.New(s.cfg.MaxAuthFailures, time.Now), now: time.Now,
		region: s.cfg.Region, class: s.cfg.Authenticator, log: s.log}
	if err = s.openNotify(); err != nil {
		return err
	}
	s.trails, err = trail.Open(trail.Config{Notify: s.notify, Roles: trailRoles{s.directory},
		Store: s.store, Journal: s.journal, Sealer: sealer, Log: s.log, Now: time.Now,
		Bucket:           &lateBucket{s},
		DeliveryInterval: s.cfg.DeliveryInterval, DigestInterval: s.cfg.DigestInterval, CheckpointTo: s.cfg.CheckpointTo, NoTiles: !s.cfg.CheckpointTiles, Retention: s.cfg.TrailRetention})
	return err
}

// lateBucket is the trails' bucket: the registry is opened after the trails,
// which the path that opens it needs.
type lateBucket struct{ s *Server }

func (l *lateBucket) Policy(ctx context.Context, bucket string) (string, string, error) {
	return trailBucket{l.s.objects, l.s.registry}.Policy(ctx, bucket)
}

func (l *lateBucket) Put(ctx context.Context, bucket, key string, body []byte, o trail.PutOptions) error {
	return trailBucket{l.s.objects, l.s.registry}.Put(ctx, bucket, key, body, o)
}

func (l *lateBucket) Open(ctx context.Context, bucket, key string) (io.ReadCloser, error) {
	return trailBucket{l.s.objects, l.s.registry}.Open(ctx, bucket, key)
}

func (l *lateBucket) DefaultRetention(bucket string) *trail.Retention {
	return trailBucket{l.s.objects, l.s.registry}.DefaultRetention(bucket)
}

func (l *lateBucket) PutLocked(ctx context.Context, bucket, key string, body []byte, o trail.PutOptions, r trail.Retention) (trail.Lock, error) {
	return trailBucket{l.s.objects, l.s.registry}.PutLocked(ctx, bucket, key, body, o, r)
}

func (s *Server) openTrails(context.Context) (err error) {
	if s.registry, err = s3.OpenRegistry(s.store); err != nil {
		return err
	}
	s.objects.DefaultLock(s.registry.DefaultLock)
	if s.catalog, err = glue.Open(s.store); err != nil {
		return err
	}
	s.engine = duckdb.New(duckdb.Config{MemoryMB: s.cfg.QueryMemoryMB, Threads: 2, TempDir: filepath.Join(s.cfg.Data, "tmp")})
	if s.lake, err = lake.Open(lake.Config{Store: s.store, Journal: s.journal, Source: importSource{s.objects, s.registry, s.directory},
		Bucket: &lateBucket{s}, Sign: s.trails.SignText, Engine: s.engine, Text: athena.Text, Dir: filepath.Join(s.cfg.Data, "lake"), CompactEvery: s.cfg.LakeFileInterval, FileEvents: s.cfg.LakeFileEvents, Log: s.log, Now: time.Now}); err != nil {
		return err
	}
	s.path = &call.Path{Auth: s.directory, Selector: call.Selectors{s.trails, s.lake}, Wants: s.lake, Journal: s.journal, Store: s.store,
		AlwaysData: s.cfg.DataEvents == "always", Now: time.Now, Log: s.log}
	if s.history, err = history.Open(history.Config{Store: s.store, Journal: s.journal, Log: s.log, Now: time.Now, Retention: s.cfg.HistoryRetention}); err != nil {
		return err
	}
	params := insights.Defaults()
	params.MinHistory, params.MinCalls, params.MaxSeries = s.cfg.InsightsMinHistory, s.cfg.InsightsMinCalls, s.cfg.InsightsMaxSeries
	params.Significance, params.Baseline = s.cfg.InsightsSignificance, s.cfg.InsightsBaseline
	if s.insights, err = insights.Open(insights.Config{Store: s.store, Journal: s.journal, Trails: s.trails, Lake: s.lake,
		Params: params, Log: s.log, Now: time.Now}); err != nil {
		return err
	}
	// The readers outlive Start's context: Stop ends them, after the calls.
	ctx, cancel := context.WithCancel(context.Background())
	s.readers, s.cancel = ctx, cancel
	s.goes("event history", func() error { return s.history.Run(ctx) })
	s.goes("Insights", func() error { return s.insights.Run(ctx) })
	s.goes("aggregation of data events", func() error {
		return aggregate.Run(ctx, aggregate.Config{Store: s.store, Journal: s.journal, Trails: s.trails, Log: s.log, Now: time.Now})
	})
	s.goes("delivery", func() error { return s.trails.Run(ctx) })
	s.goes("event data stores", func() error { return s.lake.Run(ctx) })
	s.goes("queries of event data stores", func() error { return s.lake.RunQueries(ctx) })
	s.goes("files of event data stores", func() error { return s.lake.RunCompaction(ctx) })
	s.goes("imports", func() error { return s.lake.RunImports(ctx) })
	s.goes("dashboards", func() error { return cloudtrail.RunDashboards(ctx, s.trailAPI(), s.path) })
	s.goes("last use of credentials", func() error { return s.keepLastUsed(ctx) })
	s.goes("object gateway", func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-s.objects.Failed():
			return errors.New("the object gateway ended; S3 and Athena calls fail until a restart")
		}
	})
	return nil
}

func (s *Server) trailAPI() cloudtrail.Config {
	return cloudtrail.Config{Store: s.store, Trails: s.trails, Lake: s.lake, History: s.history, Insights: s.insights, Bucket: &lateBucket{s}, Buckets: s.registry, Catalog: s.catalog}
}

// goes runs a part in the background and keeps its failure.
func (s *Server) goes(what string, fn func() error) {
	s.group.Go(func() {
		if err := fn(); err != nil {
			s.log.Error("a part of the server failed", "part", what, "err", err)
			select {
			case s.failed <- fmt.Errorf("%s: %w", what, err):
			default:
			}
		}
	})
}

func (s *Server) keepLastUsed(ctx context.Context) error {
	tick := time.NewTicker(saveLastUsed)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.directory.SaveLastUsed(s.journal.Commit)
		case <-tick.C:
			if err := s.directory.SaveLastUsed(s.journal.Commit); err != nil {
				return err
			}
		}
	}
}

func (s *Server) openServices(context.Context) (err error) {
	if s.keyspaces, err = keyspaces.Open(keyspaces.Config{Store: s.store, Path: s.path, Log: s.log,
		ClusterName: s.cfg.ClusterName, MaskThreshold: s.cfg.MaskThreshold, SchemaChanged: s.schemaChanged}); err != nil {
		return err
	}
	copies, err := s.openCopies()
	if err != nil {
		return err
	}
	s.athena, err = athena.Open(athena.Config{Store: s.store, Journal: s.journal, Auth: s.directory, Path: s.path, Catalog: s.catalog, Stores: s.lake, Engine: s.engine,
		Objects: s.objects, Buckets: s.registry, Copies: copies, Workers: s.cfg.QueryWorkers, Now: time.Now, Log: s.log})
	if err != nil {
		return err
	}
	trailAPI := s.trailAPI()
	s.handler, err = awshttp.NewHandler(awshttp.Config{
		Path: s.path, Auth: s.auth, Log: s.log, Region: s.cfg.Region, Account: s.cfg.Account, Admit: s.auth.admitUnsigned,
		S3: s3.New(s3.Config{Path: s.path, Auth: s.auth, Registry: s.registry, Store: s.objects, Region: s.cfg.Region, Account: s.cfg.Account, Log: s.log}),
		Services: []*call.Service{
			s.directory.Service(), sts.New(sts.Config{Directory: s.directory, Issuers: s.issuers, Guessed: s.auth.guessed}), s.athena.HTTP(), s.keyspaces.HTTP(),
			cloudtrail.Service(trailAPI), cloudtrail.DataService(trailAPI),
		},
	})
	return err
}

// openCopies opens the columnar copies of log files and begins to make them; a
// server that is to have none removes them.
func (s *Server) openCopies() (*columnar.Cache, error) {
	cfg := columnar.Config{Store: s.store, Journal: s.journal, Engine: s.engine, Objects: s.objects, Dir: filepath.Join(s.cfg.Data, "columnar"),
		Limit: int64(s.cfg.ColumnarMB) << 20, Now: time.Now, Log: s.log}
	if s.cfg.Columnar == "off" {
		return nil, columnar.Discard(cfg)
	}
	c, err := columnar.Open(cfg)
	if err == nil {
		s.goes("columnar copies", func() error { return c.Run(s.readers) })
	}
	return c, err
}

// schemaChanged passes changes made by the HTTP API on to CQL clients.
func (s *Server) schemaChanged(account, region string, change frame.SchemaChange) {
	if s.cql != nil {
		s.cql.SchemaChanged(keyspaces.SchemaName(account, region), change)
	}
}

func cassandraHost(region string) string { return "cassandra." + region + ".amazonaws.com" }

// hosts are the names that the server's certificate is for.
func (s *Server) hosts() []string {
	out := []string{"localhost", "127.0.0.1", "::1", "*.localhost", "s3.localhost", "*.s3.localhost", cassandraHost(s.cfg.Region)}
	// A CQL client says by the name it asks TLS for which region it means.
	for _, region := range aws.Regions() {
		out = append(out, cassandraHost(region))
	}
	for _, addr := range []string{s.cfg.HTTP, s.cfg.CQL} {
		host, _, err := net.SplitHostPort(addr)
		if err == nil && host != "" && host != "0.0.0.0" && host != "::" && host != "127.0.0.1" && host != "localhost" {
			out = append(out, host)
		}
	}
	return out
}

func (s *Server) openHTTP(context.Context) error {
	conf, err := loadTLS(filepath.Join(s.cfg.Data, tlsDir), s.hosts(), time.Now())
	if err != nil {
		return err
	}
	conf.NextProtos = []string{"http/1.1"}
	l, err := net.Listen("tcp", s.cfg.HTTP)
	if err != nil {
		return fmt.Errorf("listening for HTTP: %w; is another server running there? --http takes another address", err)
	}
	s.ends.HTTP = l.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_spoor/health", s.health)
	mux.HandleFunc("GET /_spoor/checkpoint-key", s.checkpointKey)
	mux.HandleFunc("POST /_spoor/keys", s.rotateKey)
	mux.HandleFunc("GET /_spoor/{name}", s.snsCertificate)
	mux.HandleFunc("GET "+notify.ConfirmPath, s.notify.ServeConfirm)
	mux.HandleFunc("GET "+notify.UnsubscribePath, s.notify.ServeUnsubscribe)
	mux.HandleFunc("POST "+accountsPath, s.createAccount)
	mux.Handle("/", s.handler)
	s.http = &http.Server{Handler: patient(bare(mux, s.handler), s.cfg.ClientTimeout), ReadHeaderTimeout: s.cfg.ClientTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
	s.tails, s.stopTails = context.WithCancel(context.Background())
	mux.Handle("GET /_spoor/tail", tail.New(tail.Config{Path: s.path, Auth: s.auth, Journal: s.journal, Region: s.cfg.Region, Done: s.tails, Log: s.log}))
	s.http.RegisterOnShutdown(s.stopTails)
	split := newSplitListener(l, conf, s.cfg.ClientTimeout)
	s.goes("HTTP", func() error {
		if err := s.http.Serve(split); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return nil
}

// bare keeps the mux away from AWS's paths: it would clean them, and an object
// key may hold anything.
func bare(mux, api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_spoor/") {
			mux.ServeHTTP(w, r)
			return
		}
		api.ServeHTTP(w, r)
	})
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"status":"ok"}`)) // a client that is gone needs no answer
}

// checkpointKey shows the public key of an account's checkpoints.
func (s *Server) checkpointKey(w http.ResponseWriter, r *http.Request) {
	account := s.cfg.Account
	if a := r.URL.Query().Get("account"); a != "" {
		account = a
	}
	if !s.directory.HasAccount(account) {
		http.Error(w, "no such account", http.StatusNotFound)
		return
	}
	key, err := s.trails.CheckpointKey(account)
	if err != nil {
		s.log.Error("the checkpoint key cannot be shown", "err", err)
		http.Error(w, "the key cannot be read", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(key + "\n")) // a client that is gone needs no answer
}

func (s *Server) openCQL(context.Context) error {
	conf, err := loadTLS(filepath.Join(s.cfg.Data, tlsDir), s.hosts(), time.Now())
	if err != nil {
		return err
	}
	s.cql, err = cqlserver.New(cqlserver.Config{Handler: s.keyspaces, Authenticator: s.auth, Logger: s.log, Rejected: s.rejected, MaxBody: s.cfg.MaxFrameMB << 20,
		StartupTimeout: s.cfg.ClientTimeout, ReadTimeout: s.cfg.ClientTimeout})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", s.cfg.CQL)
	if err != nil {
		return fmt.Errorf("listening for CQL: %w; is another server running there? --cql takes another address", err)
	}
	s.ends.CQL = l.Addr().String()
	s.serveCQL("CQL", tls.NewListener(l, conf))
	if s.cfg.CQLPlain == "" {
		return nil
	}
	if l, err = net.Listen("tcp", s.cfg.CQLPlain); err != nil {
		return fmt.Errorf("listening for CQL without TLS: %w; --cql-plain takes another address", err)
	}
	s.ends.CQLPlain = l.Addr().String()
	s.serveCQL("CQL without TLS", l)
	return nil
}

func (s *Server) serveCQL(what string, l net.Listener) {
	s.goes(what, func() error {
		if err := s.cql.Serve(l); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, cqlserver.ErrServerClosed) {
			return err
		}
		return nil
	})
}

// announce writes the addresses down for `spoor env`.
func (s *Server) announce(context.Context) error {
	s.ends.Region, s.ends.Account = s.cfg.Region, s.cfg.Account
	s.ends.CAFile = filepath.Join(s.cfg.Data, tlsDir, CAFile)
	return writeJSON(filepath.Join(s.cfg.Data, endpointsFile), s.ends)
}

// Endpoints are the addresses that the server listens on.
func (s *Server) Endpoints() Endpoints { return s.ends }

// Failed delivers the failure of a part that the server cannot do without.
func (s *Server) Failed() <-chan error { return s.failed }

// Welcome is what the server prints when it is ready.
func (s *Server) Welcome() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Spoor is ready.\n\n")
	fmt.Fprintf(&b, "  AWS APIs    http://%s and https (Athena, CloudTrail, Keyspaces, S3, IAM, STS)\n", s.ends.HTTP)
	fmt.Fprintf(&b, "  CQL         %s, TLS\n", s.ends.CQL)
	fmt.Fprintf(&b, "  Data        %s\n", s.cfg.Data)
	fmt.Fprintf(&b, "  Master key  %s\n", s.sealer)
	// At every start: an earlier one may have made them and failed after it.
	credentials := filepath.Join(s.cfg.Data, credentialsFile)
	if _, err := os.Stat(credentials); err == nil {
		fmt.Fprintf(&b, "  Credentials %s\n", credentials)
	}
	b.WriteByte('\n')
	self := filepath.Base(os.Args[0])
	if dir := filepath.Dir(os.Args[0]); dir != "." {
		self = os.Args[0]
	}
	fmt.Fprintf(&b, "In another shell:\n\n  eval \"$(%s env --data %s)\"\n  aws sts get-caller-identity\n\n", self, s.cfg.Data)
	if s.fresh {
		fmt.Fprintf(&b, "This is a new data directory. Its credentials are in %s; keep that file.\n", credentials)
	}
	return b.String()
}

// Stop stops in order: no new calls, the calls under way, queries, the
// journal's readers, the journal, the stores.
func (s *Server) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var errs []error
	if s.http != nil {
		errs = append(errs, s.http.Shutdown(ctx))
	}
	if s.cql != nil {
		errs = append(errs, s.cql.Shutdown(ctx))
	}
	if s.debug != nil {
		errs = append(errs, s.debug.Close())
	}
	if s.athena != nil {
		errs = append(errs, s.athena.Close(ctx))
	}
	if s.cancel != nil {
		s.cancel()
	}
	s.group.Wait()
	if s.engine != nil {
		errs = append(errs, s.engine.Close())
	}
	if s.objects != nil {
		errs = append(errs, s.objects.Close())
	}
	if s.journal != nil {
		errs = append(errs, s.journal.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}
