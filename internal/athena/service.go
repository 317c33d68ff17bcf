// Package athena is Amazon Athena: its API, its queries and their results. It
// stands in the handle step of a call's path; queries run behind it, on the
// embedded engine, and write their results to the caller's bucket.
//
// A query's state and the record of its start are one write; the query begins
// when they are durable. A start of the server fails whatever it finds
// unfinished, so no query stays in RUNNING.
package athena

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"spoor/internal/athena/sql"
	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/columnar"
	"spoor/internal/engine/duckdb"
	"spoor/internal/glue"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/objects"
)

// Limits of Athena (API reference, and service quotas).
const (
	historyRetention = 45 * 24 * time.Hour
	queryTimeout     = 30 * time.Minute // DML query timeout
	maxBatch         = 50
	maxPage          = 1000
	primary          = "primary"
	engineVersion    = "Athena engine version 3"
	maxQueued        = 10_000
)

// Objects is the object storage that tables and results lie in.
type Objects interface {
	// PutFrom stores an object durably; it may read body twice.
	PutFrom(ctx context.Context, bucket, key string, body io.ReadSeeker, o objects.PutOptions) error
	// Get and Head answer objects.ErrNoSuchKey or ErrNoSuchBucket for what is
	// not there.
	Get(ctx context.Context, bucket, key string) (body io.ReadCloser, info objects.Info, err error)
	List(ctx context.Context, bucket, prefix, startAfter string, fn func(objects.Item) bool) error
	// LocalPath is the file that holds an object, for storage that has such.
	LocalPath(bucket, key string) (string, bool)
}

// Buckets knows who owns a bucket and what its policy is.
type Buckets interface {
	Exists(name string) bool
	// PolicyFor is the policy that counts for a caller.
	PolicyFor(name string, caller *aws.Caller) string
	Account(name string) string
}

// Config is what a Service needs.
type Config struct {
	Store   *kv.Store
	Journal *journal.Journal
	Auth    call.Authorizer
	// Path records what a query is denied while it runs; nil leaves it out.
	Path    *call.Path
	Catalog *glue.Catalog
	Engine  *duckdb.Engine
	Objects Objects
	Buckets Buckets
	Stores  Stores // federated event data stores; nil when there are none
	// Copies are columnar copies of log files; nil for none.
	Copies  *columnar.Cache
	Workers int    // queries that run at a time
	TempDir string // for results that are too large for memory; "" for the system's
	Now     func() time.Time
	Log     *slog.Logger
}

// Service is Athena. It is safe for concurrent use.
type Service struct {
	cfg Config
	// writing is held by a call that reads what it changes, until its writes
	// are durable.
	writing sync.Mutex

	ctx    context.Context // of the queries
	cancel context.CancelFunc
	slots  chan struct{}
	wg     sync.WaitGroup

	mu      sync.Mutex
	running map[string]*run // by execution id
}

// run is a query under way.
type run struct {
	cancel    context.CancelFunc
	cancelled bool // by StopQueryExecution
}

// Open makes the service and fails the queries that a crash left unfinished.
func Open(cfg Config) (*Service, error) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Service{cfg: cfg, ctx: ctx, cancel: cancel, slots: make(chan struct{}, max(1, cfg.Workers)), running: map[string]*run{}}
	if err := s.failUnfinished(); err != nil {
		cancel()
		return nil, err
	}
	return s, nil
}

// Close cancels the queries under way, which fail with a reason, and waits.
func (s *Service) Close(ctx context.Context) error {
	s.cancel()
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("athena: queries do not end: %w", ctx.Err())
	}
}

// execution is a query as the store keeps it.
type execution struct {
	ID           string        `json:"id"`
	Account      string        `json:"account"`
	Region       string        `json:"region"`
	Query        string        `json:"query"`
	Params       []string      `json:"params,omitempty"`
	Catalog      string        `json:"catalog,omitempty"`  // as sent
	Database     string        `json:"database,omitempty"` // as sent
	WorkGroup    string        `json:"work_group"`
	Output       string        `json:"output"`      // location as sent
	ResultFile   string        `json:"result_file"` // s3://…/id.csv
	Type         string        `json:"type"`
	Substatement string        `json:"substatement"`
	State        string        `json:"state"`
	Reason       string        `json:"reason,omitempty"`
	Error        *athenaError  `json:"error,omitempty"`
	Submitted    time.Time     `json:"submitted"`
	Started      time.Time     `json:"started,omitzero"`
	Completed    time.Time     `json:"completed,omitzero"`
	Scanned      int64         `json:"scanned,omitempty"`
	Rows         int64         `json:"rows,omitempty"`
	Columns      []column      `json:"columns,omitempty"`
	Token        string        `json:"token,omitempty"`
	PlanTime     time.Duration `json:"plan_time,omitempty"`

	// Who asked, for the query's own rights; not stored.
	call   *call.Call
	stmt   *sql.Statement
	cutoff int64 // of bytes scanned; 0 for none
}

// tooMuch says that the query reads more than its work group lets it.
func (e *execution) tooMuch() bool { return e.cutoff > 0 && e.Scanned > e.cutoff }

// athenaError is QueryExecutionStatus.AthenaError.
type athenaError struct {
	Category  int32  `json:"category"`
	Type      int32  `json:"type"`
	Retryable bool   `json:"retryable,omitempty"`
	Message   string `json:"message"`
}

const (
	queued    = "QUEUED"
	running   = "RUNNING"
	succeeded = "SUCCEEDED"
	failed    = "FAILED"
	cancelled = "CANCELLED"
)

func (e *execution) finished() bool { return e.State != queued && e.State != running }

func key(c *call.Call, table string, parts ...string) []byte {
	return kv.Key(kv.SpaceState, append([]string{"athena", table, c.AccountID, c.Region}, parts...)...)
}

func executionKey(account, region, id string) []byte {
	return kv.Key(kv.SpaceState, "athena", "execution", account, region, id)
}

// orderKey lists a work group's executions, newest first.
func orderKey(account, region, workGroup string, at time.Time, id string) []byte {
	k := kv.Key(kv.SpaceState, "athena", "order", account, region, workGroup)
	return kv.AppendString(kv.AppendUint64(k, ^uint64(at.UnixNano())), id)
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("athena: encoding state: %v", err)) // plain data always encodes
	}
	return b
}

func load[T any](s *Service, k []byte) (*T, error) {
	raw, err := s.cfg.Store.Get(k)
	if err != nil {
		return nil, err
	}
	out := new(T)
	if err := json.Unmarshal(raw, out); err != nil {
		return nil, fmt.Errorf("athena: reading state: %w", err)
	}
	return out, nil
}

// save writes an execution's progress.
func (s *Service) save(e *execution) error {
	b := s.cfg.Store.NewBatch()
	b.Set(executionKey(e.Account, e.Region, e.ID), encode(e))
	return s.cfg.Journal.Commit(b)
}

// failUnfinished ends what was under way when the server ended, and forgets
// executions older than Athena keeps them.
func (s *Service) failUnfinished() error {
	b := s.cfg.Store.NewBatch()
	now := s.cfg.Now()
	err := s.cfg.Store.Scan(kv.Key(kv.SpaceState, "athena", "execution"), func(k, v []byte) (bool, error) {
		var e execution
		if err := json.Unmarshal(v, &e); err != nil {
			return false, fmt.Errorf("athena: reading an execution: %w", err)
		}
		switch {
		case now.Sub(e.Submitted) > historyRetention:
			b.Delete(k)
			b.Delete(orderKey(e.Account, e.Region, e.WorkGroup, e.Submitted, e.ID))
		case !e.finished():
			e.fail(&athenaError{Category: 1, Type: 200, Retryable: true, Message: "INTERNAL_ERROR: The server stopped while the query was under way. Run it again."}, now)
			b.Set(k, encode(&e))
		}
		return true, nil
	})
	if err != nil {
		return errors.Join(err, b.Close())
	}
	if b.Empty() {
		return b.Close()
	}
	return s.cfg.Journal.Commit(b)
}

func (e *execution) fail(err *athenaError, now time.Time) {
	e.State, e.Reason, e.Error, e.Completed = failed, err.Message, err, now
}

// invalid is Athena's error for a bad request, which carries its code twice
// (as the service sends it).
func invalid(code, format string, args ...any) *aws.Error {
	return &aws.Error{Op: "athena", Kind: aws.Invalid, Code: "InvalidRequestException", Message: fmt.Sprintf(format, args...),
		Fields: map[string]any{"AthenaErrorCode": code, "ErrorCode": code}}
}

const invalidInput = "INVALID_INPUT"
