package crash

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/aws/smithy-go"

	"spoor/test/harness"
)

var (
	rounds = flag.Int("rounds", 8, "how often to kill the server")
	seed   = flag.Uint64("seed", 0, "seed of the schedule; 0 picks one")
	keep   = flag.String("keep", "", "directory for the data of the run, which then stays; default: a temporary one, which stays when the run fails")
)

func TestCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("kills and restarts a server many times")
	}
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d, %d rounds", *seed, *rounds)
	rng := rand.New(rand.NewPCG(*seed, 1))
	dir := directory(t)
	binary := build(t)
	kills := schedule(rng, *rounds)
	embedded, elsewhere := divide(kills)
	c := newTally()
	for _, w := range []struct {
		name      string
		elsewhere bool
		kills     []kill
	}{{"embedded", false, embedded}, {"elsewhere", true, elsewhere}} {
		// One server at a time.
		t.Run(w.name, func(t *testing.T) {
			world := newWorld(t, binary, filepath.Join(dir, w.name), w.elsewhere, rng, c)
			world.rounds(w.kills)
			e := world.collect()
			world.report(e)
			world.verify()
		})
	}
	t.Logf("kills:%s", c.table())
	if missing := c.missing(*rounds); len(missing) > 0 {
		t.Errorf("no kill fell into: %q", missing)
	}
}

// directory is where the run's data is. That of a run that failed stays.
func directory(t *testing.T) string {
	t.Helper()
	if *keep != "" {
		if err := os.MkdirAll(*keep, 0o700); err != nil {
			t.Fatal(err)
		}
		return *keep
	}
	dir, err := os.MkdirTemp("", "spoor-crash-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the data stays in %s: `spoor serve --data %s/embedded` serves it; make crash SEED=%d ROUNDS=%d repeats the schedule", dir, dir, *seed, *rounds)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// built is the server with its crash points, made once for all tests.
var (
	binaries string // the directory that it is in
	built    = sync.OnceValues(func() (string, error) { return harness.Build(context.Background(), binaries, "crashpoints") })
)

func build(t *testing.T) string {
	t.Helper()
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "spoor-crash-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binaries = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// report judges, and prints what it judged.
func (w *world) report(e *evidence) {
	w.t.Logf("%s: acknowledged %d HTTP calls, %d rows, %d audit events, %d denied statements; delivered %d records in %d files; event data store %d, event history %d, live stream %d",
		w.name, len(e.ledger.calls), total(e.ledger.rows), len(e.audits), e.ledger.denied, len(e.delivered), len(e.files), len(e.lake), len(e.looked), len(e.tailed))
	if len(e.ledger.calls) == 0 || total(e.ledger.rows) == 0 || e.ledger.denied == 0 || len(e.ledger.audits) == 0 {
		w.t.Error("some client got no answer in the whole run: the load did not run")
	}
	for _, p := range append(w.problems, judge(e)...) {
		w.t.Error(p)
	}
}

func total(m map[string][]int) int {
	n := 0
	for _, v := range m {
		n += len(v)
	}
	return n
}

// answered reports whether an error is the server's answer.
func answered(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && !errors.Is(err, context.Canceled)
}

func asRequestError(err error, to *gocql.RequestError) bool { return errors.As(err, to) }

func pad(s string) string { return fmt.Sprintf("%-40s", s) }
func itoa(n int) string   { return strconv.Itoa(n) }
