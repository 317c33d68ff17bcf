// Command bench prints the figures of docs/BENCHMARKS.md, all from one run:
// what a call with its record costs, beside the limit (a bare Pebble committer
// that writes the same bytes with one sync a group) and beside the same calls
// without a record.
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"spoor/internal/objects"
	"spoor/test/harness"
)

var (
	binaryPath = flag.String("binary", "bin/spoor", "the server")
	duration   = flag.Duration("duration", 3*time.Second, "time of one measurement")
	repeats    = flag.Int("repeats", 3, "measurements of each cell; the median is printed")
	only       = flag.Int("only", 0, "measure CQL at this number of connections and nothing else")
	lookupOnly = flag.String("lookup", "", "measure LookupEvents over event histories of these sizes, separated by commas, and nothing else")
	keep       = flag.String("keep", "", "directory in which -lookup leaves the event histories, and uses those that are there")
	profiles   = flag.String("profiles", "", "directory for CPU profiles of the recording server, one a cell")
	copies     = flag.Int("columnar", 0, "ask the same questions over a trail of so many records as JSON files and as columnar copies, and nothing else")
	sustained  = flag.Duration("sustained", 0, "measure recording with all readers for this long and nothing else")
)

var concurrencies = []int{1, 16, 64}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "gateway" { // of the server in this process
		if err := objects.RunGateway(context.Background(), os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	if *sustained > 0 {
		if err := benchSustained(context.Background(), *sustained); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if *copies > 0 {
		if err := benchColumnar(context.Background(), *copies); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if *only > 0 {
		concurrencies = []int{*only}
	}
	if err := bench(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// side is one server with its settings.
type side struct {
	name string
	srv  *harness.Server
	conf *tls.Config
	ids  map[string][]byte
}

const (
	insertStmt = "INSERT INTO bench.t (pk, ck, v) VALUES (?, ?, ?)"
	selectStmt = "SELECT pk, ck, v FROM bench.t WHERE pk = ? AND ck = ?"
	valueBytes = 200
	// selectRows is the number of rows that SELECT picks from.
	selectRows = 10_000
)

func bench(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "spoor-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if *lookupOnly != "" {
		sizes, err := numbers(*lookupOnly)
		if err != nil {
			return err
		}
		return benchLookup(ctx, cmp.Or(*keep, dir), sizes)
	}

	var sides [3]*side
	for i, x := range [...]struct {
		name string
		args []string
	}{unrecorded: {"not recorded", nil}, recorded: {"recorded", []string{"--data-events", "always"}}, delivered: {"recorded and delivered", nil}} {
		if sides[i], err = start(ctx, x.name, filepath.Join(dir, strconv.Itoa(i)), i == delivered, x.args...); err != nil {
			return err
		}
		defer sides[i].srv.Stop()
	}

	fmt.Printf("%d repeats of %s a cell, medians; server and load share the machine's %d cores.\n\n", *repeats, *duration, runtime.NumCPU())
	if err := benchCQL(dir, sides); err != nil {
		return err
	}
	if *only > 0 {
		return nil
	}
	if err := benchHTTP(ctx, sides[recorded]); err != nil {
		return err
	}
	if err := benchSizes(ctx, dir); err != nil {
		return err
	}
	for _, s := range sides {
		if err := s.srv.Stop(); err != nil {
			return err
		}
	}
	return benchSustained(ctx, time.Minute)
}

// The servers that are compared: statements are data events that nothing
// selects, that are recorded always, and that a trail selects and delivers.
const (
	unrecorded = iota
	recorded
	delivered
)

func start(ctx context.Context, name, dir string, selected bool, args ...string) (*side, error) {
	if *profiles != "" {
		args = append(args, "--debug", "127.0.0.1:0")
	}
	s := &side{name: name, srv: harness.New(*binaryPath, dir, args...), ids: map[string][]byte{}}
	if err := s.srv.Start(ctx); err != nil {
		return nil, err
	}
	var err error
	if s.conf, err = s.srv.TLS(); err != nil {
		return nil, err
	}
	if selected {
		if err := trail(ctx, s.srv); err != nil {
			return nil, err
		}
	}
	c, err := s.dial()
	if err != nil {
		return nil, err
	}
	for _, stmt := range []string{
		"CREATE KEYSPACE bench WITH REPLICATION = {'class': 'SingleRegionStrategy'}",
		"CREATE TABLE bench.t (pk text, ck int, v blob, PRIMARY KEY (pk, ck))",
	} {
		if err := c.query(stmt); err != nil {
			return nil, err
		}
	}
	for _, stmt := range []string{insertStmt, selectStmt} {
		if s.ids[stmt], err = c.prepare(stmt); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// trail selects the rows' data events and delivers them, as in use.
func trail(ctx context.Context, srv *harness.Server) error {
	c := srv.AWS(srv.Profiles["admin"])
	name := aws.String("bench-trail")
	if _, err := c.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: name}); err != nil {
		return err
	}
	if _, err := c.S3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: name, Policy: aws.String(harness.TrailPolicy(*name, srv.Account))}); err != nil {
		return err
	}
	if _, err := c.CloudTrail.CreateTrail(ctx, &cloudtrail.CreateTrailInput{Name: name, S3BucketName: name}); err != nil {
		return err
	}
	if _, err := c.CloudTrail.PutEventSelectors(ctx, &cloudtrail.PutEventSelectorsInput{TrailName: name,
		AdvancedEventSelectors: []cttypes.AdvancedEventSelector{harness.Data("AWS::Cassandra::Table", "")}}); err != nil {
		return err
	}
	_, err := c.CloudTrail.StartLogging(ctx, &cloudtrail.StartLoggingInput{Name: name})
	return err
}

func (s *side) dial() (*cqlConn, error) {
	p := s.srv.Profiles["admin"]
	return dialCQL(net.JoinHostPort(s.srv.CQLHost, strconv.Itoa(s.srv.CQLPort)), s.conf, p.CQLUser, p.CQLPassword)
}

// inserter writes rows of its own partition.
func (s *side) inserter(tag string) func(i int) (func() error, error) {
	return func(i int) (func() error, error) {
		c, err := s.dial()
		if err != nil {
			return nil, err
		}
		pk, ck, v := []byte(fmt.Sprintf("customer-%s-%d", tag, i)), make([]byte, 4), make([]byte, valueBytes)
		var scratch []byte
		n := uint32(1000)
		return func() error {
			n++
			binary.BigEndian.PutUint32(ck, n)
			scratch, err = c.execute(scratch, s.ids[insertStmt], pk, ck, v)
			return err
		}, nil
	}
}

func (s *side) selecter(i int) (func() error, error) {
	c, err := s.dial()
	if err != nil {
		return nil, err
	}
	ck := make([]byte, 4)
	var scratch []byte
	n := uint32(i * 7919)
	return func() error {
		n += 31
		binary.BigEndian.PutUint32(ck, n%selectRows)
		scratch, err = c.execute(scratch, s.ids[selectStmt], []byte("read"), ck)
		return err
	}, nil
}

// fill writes the rows that SELECT reads.
func (s *side) fill() error {
	c, err := s.dial()
	if err != nil {
		return err
	}
	ck, v := make([]byte, 4), make([]byte, valueBytes)
	var scratch []byte
	for n := range uint32(selectRows) {
		binary.BigEndian.PutUint32(ck, n)
		if scratch, err = c.execute(scratch, s.ids[insertStmt], []byte("read"), ck, v); err != nil {
			return err
		}
	}
	return nil
}

func benchCQL(dir string, sides [3]*side) error {
	for _, s := range sides {
		if err := s.fill(); err != nil {
			return err
		}
	}
	fmt.Print("CQL over TLS, prepared statements, one request under way a connection.\n\n" +
		"INSERT of a row of 200 bytes:\n\n" +
		"| Connections | Limit: bare Pebble committer | not recorded | recorded | of limit | recording costs | recorded and delivered | of limit | both cost |\n" +
		"|---|---|---|---|---|---|---|---|---|\n")
	selects := "SELECT of that row:\n\n" +
		"| Connections | not recorded | recorded | recorded and delivered |\n" +
		"|---|---|---|---|\n"
	for _, n := range concurrencies {
		var lim []figure
		var ins, sel [3][]figure
		for r := range *repeats {
			tag := fmt.Sprintf("%d-%d", n, r)
			// One after the other within each repeat, so that what the machine
			// does besides hits all of them alike.
			f, err := limit(filepath.Join(dir, "limit-"+tag), *duration, n)
			if err != nil {
				return err
			}
			lim = append(lim, f)
			for i, s := range sides {
				if f, err = s.measure("insert-"+tag, n, s.inserter(tag)); err != nil {
					return err
				}
				ins[i] = append(ins[i], f)
				if f, err = s.measure("select-"+tag, n, s.selecter); err != nil {
					return err
				}
				sel[i] = append(sel[i], f)
			}
		}
		l, no, rec, del := median(lim), median(ins[unrecorded]), median(ins[recorded]), median(ins[delivered])
		cost := func(f figure) string { return fmt.Sprintf("%.0f %%", 100*(1-f.perSecond/no.perSecond)) }
		fmt.Printf("| %d | %s | %s | %s | %.2fx | %s | %s | %.2fx | %s |\n", n, cell(l), cell(no), cell(rec), rec.perSecond/l.perSecond, cost(rec),
			cell(del), del.perSecond/l.perSecond, cost(del))
		selects += fmt.Sprintf("| %d | %s | %s | %s |\n", n, cell(median(sel[unrecorded])), cell(median(sel[recorded])), cell(median(sel[delivered])))
	}
	fmt.Printf("\n%s\n", selects)
	return nil
}

// measure is one cell.
func (s *side) measure(cell string, connections int, worker func(int) (func() error, error)) (figure, error) {
	profiled := s.profile(strings.ReplaceAll(s.name, " ", "-") + "-" + cell)
	f, err := run(*duration, connections, worker)
	return f, firstOf(err, profiled())
}

// profile takes a CPU profile while a cell is measured; the function that it
// returns waits for it.
func (s *side) profile(name string) func() error {
	if *profiles == "" {
		return func() error { return nil }
	}
	done := make(chan error, 1)
	go func() { done <- s.writeProfile(filepath.Join(*profiles, name+".pprof")) }()
	return func() error { return <-done }
}

func (s *side) writeProfile(file string) error {
	var ends struct{ Debug string }
	raw, err := os.ReadFile(filepath.Join(s.srv.Dir, "endpoints.json"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &ends); err != nil {
		return err
	}
	res, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", ends.Debug, max(1, int(duration.Seconds()))))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("no profile: %s", body)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(file, body, 0o600)
}

func cell(f figure) string {
	return fmt.Sprintf("%.0f/s, p99 %s", f.perSecond, f.p99.Round(10*time.Microsecond))
}

func benchHTTP(ctx context.Context, s *side) error {
	fmt.Println("HTTP, athena:GetWorkGroup, signed, each recorded:")
	fmt.Println()
	fmt.Println("| Connections | Calls |")
	fmt.Println("|---|---|")
	for _, n := range concurrencies {
		var fs []figure
		for range *repeats {
			f, err := run(*duration, n, httpCaller(ctx, s.srv))
			if err != nil {
				return err
			}
			fs = append(fs, f)
		}
		fmt.Printf("| %d | %s |\n", n, cell(median(fs)))
	}
	fmt.Println()
	return nil
}

// benchSizes writes the same rows to two new servers and compares what their
// stores grew by, and shows memory at rest and the time to start. In a store with
// much in it, what is compacted meanwhile would count.
func benchSizes(ctx context.Context, dir string) error {
	const rows = 50_000
	var grown [2]int64
	for k, args := range [][]string{{"--data-events", "always"}, nil} {
		s, err := start(ctx, "size", filepath.Join(dir, "size-"+strconv.Itoa(k)), false, args...)
		if err != nil {
			return err
		}
		before, err := settle(ctx, s)
		if err != nil {
			return err
		}
		if err := writeRows(s, rows); err != nil {
			return err
		}
		after, err := settle(ctx, s)
		if err != nil {
			return err
		}
		grown[k] = after - before
		if err := s.srv.Stop(); err != nil {
			return err
		}
	}
	fmt.Printf("Bytes on disk for %d more rows, after a restart: %d a row with its record, %d without: %d a record.\n\n",
		rows, grown[0]/rows, grown[1]/rows, (grown[0]-grown[1])/rows)

	idle := harness.New(*binaryPath, filepath.Join(dir, "idle"))
	if err := idle.Start(ctx); err != nil {
		return err
	}
	if err := idle.Stop(); err != nil {
		return err
	}
	began := time.Now()
	if err := idle.Start(ctx); err != nil {
		return err
	}
	ready := time.Since(began)
	rss, err := resident(idle.PID())
	if err != nil {
		return err
	}
	fmt.Printf("On an existing data directory: ready in %s; %d MiB resident at rest.\n", ready.Round(time.Millisecond), rss>>20)
	return idle.Stop()
}

func writeRows(s *side, rows int) error {
	const workers = 16
	insert := s.inserter("size")
	errs := make(chan error, workers)
	for i := range workers {
		go func() {
			f, err := insert(i)
			for n := 0; n < rows/workers && err == nil; n++ {
				err = f()
			}
			errs <- err
		}()
	}
	for range workers {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// settle restarts the server, so that its log is in tables, and measures the
// store.
func settle(ctx context.Context, s *side) (int64, error) {
	if err := s.srv.Stop(); err != nil {
		return 0, err
	}
	if err := s.srv.Start(ctx); err != nil {
		return 0, err
	}
	var n int64
	err := filepath.WalkDir(filepath.Join(s.srv.Dir, "store"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return nil // a file that compaction removed in between
	})
	// The prepared ids are of the process that is gone.
	c, derr := s.dial()
	if err != nil || derr != nil {
		return 0, fmt.Errorf("measuring the store: %w", firstOf(err, derr))
	}
	for _, stmt := range []string{insertStmt, selectStmt} {
		if s.ids[stmt], err = c.prepare(stmt); err != nil {
			return 0, err
		}
	}
	return n, nil
}

func firstOf(errs ...error) error {
	for _, e := range errs {
		if e != nil {
			return e
		}
	}
	return nil
}

// resident is a process's resident memory in bytes, from /proc.
func resident(pid int) (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(raw), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("no VmRSS of process %d", pid)
}
