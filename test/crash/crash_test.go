// Package crash kills the server with SIGKILL at random moments under load and
// counts: every acknowledged call is in the delivered log files exactly once,
// every acknowledged write is there, and `spoor verify` finds nothing, until a
// file is tampered with.
package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"spoor/test/harness"
)

var (
	rounds = flag.Int("rounds", 3, "how often to kill the server")
	seed   = flag.Uint64("seed", 0, "seed of the random moments; 0 picks one")
)

const (
	trail       = "crash-trail" // and its bucket
	dataBucket  = "crash-data"
	cqlWorkers  = 6
	httpWorkers = 3
	s3Workers   = 2
)

// ledger is the client's own list of what was acknowledged.
type ledger struct {
	mu       sync.Mutex
	requests map[string]string // request id → what was called
	rows     map[string][]int  // table → acknowledged keys
	queries  []string          // named query ids
	objects  []string          // object keys
}

func TestCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("kills and restarts a server many times")
	}
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d, %d rounds", *seed, *rounds)
	rng := rand.New(rand.NewPCG(*seed, 1))

	srv := harness.Start(t, "--delivery-interval", "1s", "--digest-interval", "10s")
	led := &ledger{requests: map[string]string{}, rows: map[string][]int{}}
	prepare(t, srv)

	for round := range *rounds {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		load(ctx, t, srv, led, round, &wg)
		// Early moments hit the first calls, late ones delivery and digests.
		wait(time.Duration(100+rng.IntN(1900)) * time.Millisecond)
		if err := srv.Kill(); err != nil {
			t.Fatal(err)
		}
		cancel()
		wg.Wait()
		if err := srv.Start(t.Context()); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	t.Logf("acknowledged: %d HTTP calls, %d rows in %d tables", len(led.requests), total(led.rows), len(led.rows))
	if len(led.requests) < *rounds || total(led.rows) < *rounds {
		t.Fatal("hardly anything was acknowledged: the load did not run")
	}

	rows := checkWrites(t, srv, led)
	var records []event
	for _, raw := range harness.StopTrail(t, srv, trail) {
		var e event
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		records = append(records, e)
	}
	checkRecords(t, led, rows, records)
	checkVerify(t, srv)
}

// wait is the random moment itself, not a wait for something to happen.
func wait(d time.Duration) { <-time.After(d) }

func total(m map[string][]int) int {
	n := 0
	for _, v := range m {
		n += len(v)
	}
	return n
}

func admin(srv *harness.Server) harness.Clients { return srv.AWS(srv.Profiles["admin"]) }

func prepare(t *testing.T, srv *harness.Server) {
	t.Helper()
	ctx := t.Context()
	c := admin(srv)
	if _, err := c.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(dataBucket)}); err != nil {
		t.Fatal(err)
	}
	harness.StartTrail(t, srv, trail, false, harness.Management(), harness.Data("AWS::Cassandra::Table", ""),
		harness.Data("AWS::S3::Object", "arn:aws:s3:::"+dataBucket+"/"))
	session := connect(t, srv)
	defer session.Close()
	exec(t, session, `CREATE KEYSPACE crash WITH REPLICATION = {'class': 'SingleRegionStrategy'}`)
	for w := range cqlWorkers {
		exec(t, session, fmt.Sprintf(`CREATE TABLE crash.t%d (pk int PRIMARY KEY, v text)`, w))
	}
}

func connect(t *testing.T, srv *harness.Server) *gocql.Session {
	t.Helper()
	conf, err := srv.Cluster(srv.Profiles["admin"])
	if err != nil {
		t.Fatal(err)
	}
	s, err := conf.CreateSession()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func exec(t *testing.T, s *gocql.Session, stmt string) {
	t.Helper()
	if err := s.Query(stmt).Exec(); err != nil {
		t.Fatalf("%s: %v", stmt, err)
	}
}

// load runs workers until the server is gone. A worker notes a call only after
// its answer came.
func load(ctx context.Context, t *testing.T, srv *harness.Server, led *ledger, round int, wg *sync.WaitGroup) {
	c := admin(srv)
	session := connect(t, srv)
	for w := range cqlWorkers {
		wg.Go(func() {
			table := fmt.Sprintf("t%d", w)
			for i := round * 1_000_000; ctx.Err() == nil; i++ {
				if session.Query("INSERT INTO crash."+table+" (pk, v) VALUES (?, ?)", i, strings.Repeat("v", 100)).Exec() != nil {
					return
				}
				led.mu.Lock()
				led.rows[table] = append(led.rows[table], i)
				led.mu.Unlock()
			}
		})
	}
	note := func(meta middleware.Metadata, what string, also func()) {
		id, _ := awsmiddleware.GetRequestIDMetadata(meta)
		led.mu.Lock()
		defer led.mu.Unlock()
		led.requests[id] = what
		also()
	}
	for w := range httpWorkers {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				out, err := c.Athena.CreateNamedQuery(ctx, &athena.CreateNamedQueryInput{Name: aws.String(fmt.Sprintf("q-%d-%d-%d", round, w, i)),
					Database: aws.String("default"), QueryString: aws.String("SELECT 1")})
				if err != nil {
					return
				}
				note(out.ResultMetadata, "CreateNamedQuery", func() { led.queries = append(led.queries, *out.NamedQueryId) })
				list, err := c.Athena.ListWorkGroups(ctx, &athena.ListWorkGroupsInput{})
				if err != nil {
					return
				}
				note(list.ResultMetadata, "ListWorkGroups", func() {})
			}
		})
	}
	for w := range s3Workers {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key := fmt.Sprintf("%d/%d/%d", round, w, i)
				out, err := c.S3.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(dataBucket), Key: aws.String(key), Body: strings.NewReader(key)})
				if err != nil {
					return
				}
				note(out.ResultMetadata, "PutObject", func() { led.objects = append(led.objects, key) })
			}
		})
	}
	context.AfterFunc(ctx, session.Close)
}

// checkWrites reads every acknowledged write back and returns each table's
// number of rows, acknowledged or not.
func checkWrites(t *testing.T, srv *harness.Server, led *ledger) map[string]int {
	t.Helper()
	session := connect(t, srv)
	defer session.Close()
	counts := map[string]int{}
	for w := range cqlWorkers {
		table := fmt.Sprintf("t%d", w)
		found := map[int]bool{}
		it := session.Query("SELECT pk FROM crash." + table).PageSize(5000).Iter()
		var pk int
		for it.Scan(&pk) {
			if found[pk] {
				t.Errorf("row %d of %s came twice", pk, table)
			}
			found[pk] = true
		}
		if err := it.Close(); err != nil {
			t.Fatal(err)
		}
		for _, pk := range led.rows[table] {
			if !found[pk] {
				t.Errorf("acknowledged row %d of %s is lost", pk, table)
			}
		}
		counts[table] = len(found)
	}
	c := admin(srv)
	for _, id := range led.queries {
		if _, err := c.Athena.GetNamedQuery(t.Context(), &athena.GetNamedQueryInput{NamedQueryId: &id}); err != nil {
			t.Errorf("acknowledged named query %s: %v", id, err)
		}
	}
	for _, key := range led.objects {
		out, err := c.S3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(dataBucket), Key: &key})
		if err != nil {
			t.Errorf("acknowledged object %s: %v", key, err)
			continue
		}
		body, err := io.ReadAll(out.Body)
		out.Body.Close()
		if err != nil || string(body) != key {
			t.Errorf("acknowledged object %s holds %q (%v)", key, body, err)
		}
	}
	return counts
}

// event is what the test reads of a record.
type event struct {
	EventID           string
	EventName         string
	RequestID         string
	ErrorCode         string
	RequestParameters struct{ KeyspaceName, TableName string }
}

func checkRecords(t *testing.T, led *ledger, rows map[string]int, records []event) {
	t.Helper()
	ids, byRequest, inserts := map[string]bool{}, map[string]int{}, map[string]int{}
	for _, r := range records {
		if ids[r.EventID] {
			t.Errorf("event %s was delivered twice", r.EventID)
		}
		ids[r.EventID] = true
		byRequest[r.RequestID]++
		if r.EventName == "Insert" && r.ErrorCode == "" && r.RequestParameters.KeyspaceName == "crash" {
			inserts[r.RequestParameters.TableName]++
		}
	}
	for id, what := range led.requests {
		if byRequest[id] != 1 {
			t.Errorf("acknowledged %s %s was delivered %d times, want once", what, id, byRequest[id])
		}
	}
	// A row and its record are one write: there are as many of one as of the
	// other, acknowledged or not.
	for table, n := range rows {
		if inserts[table] != n {
			t.Errorf("table %s has %d rows and %d delivered Insert records", table, n, inserts[table])
		}
	}
	t.Logf("delivered: %d records", len(records))
}

// checkVerify runs the product's own oracle, and then shows that it can fail.
func checkVerify(t *testing.T, srv *harness.Server) {
	t.Helper()
	arn := fmt.Sprintf("arn:aws:cloudtrail:%s:%s:trail/%s", srv.Region, srv.Account, trail)
	args := []string{"verify", "--trail-arn", arn, "--bucket", trail}
	if out, code, err := srv.Spoor(t.Context(), args...); err != nil || code != 0 {
		t.Fatalf("verify finds fault with what was delivered: exit %d, %v\n%s", code, err, out)
	}
	if err := srv.Stop(); err != nil {
		t.Fatal(err)
	}
	args = []string{"verify", "--trail-arn", arn, "--data", srv.Dir}
	if out, code, err := srv.Spoor(t.Context(), args...); err != nil || code != 0 {
		t.Fatalf("verify --data finds fault: exit %d, %v\n%s", code, err, out)
	}
	victim := logFile(t, srv.Dir)
	whole, err := os.ReadFile(victim)
	if err != nil {
		t.Fatal(err)
	}
	for name, tamper := range map[string]func() error{
		"a changed byte": func() error {
			b := bytes.Clone(whole)
			b[len(b)/2] ^= 1
			return os.WriteFile(victim, b, 0o600)
		},
		"a truncated file": func() error { return os.WriteFile(victim, whole[:len(whole)/2], 0o600) },
		"a deleted file":   func() error { return os.Remove(victim) },
	} {
		if err := tamper(); err != nil {
			t.Fatal(err)
		}
		out, code, err := srv.Spoor(t.Context(), args...)
		if err != nil || code != 1 || !strings.Contains(out, filepath.Base(victim)) {
			t.Errorf("%s: verify exits %d (%v) and prints\n%s", name, code, err, out)
		}
		if err := os.WriteFile(victim, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// logFile finds a delivered log file on disk.
func logFile(t *testing.T, dir string) string {
	t.Helper()
	var found string
	if err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && strings.Contains(p, "/CloudTrail/") && strings.HasSuffix(p, ".json.gz") {
			found = p
			return filepath.SkipAll
		}
		return err
	}); err != nil || found == "" {
		t.Fatalf("no log file under the data directory (%v)", err)
	}
	return found
}
