package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sys/unix"

	"spoor/internal/config"
	"spoor/internal/kv"
	"spoor/internal/server"
	"spoor/test/harness"
)

const (
	// callers are the goroutines that make calls, as connections would.
	callers = 512
	// maxBehind holds callers back while a reader is further behind the journal,
	// in records: what is measured then is what the readers keep up with.
	maxBehind = 600_000
	// collects is what a reader may keep in memory without being behind.
	collects = 25_000
	// drainLimit bounds the wait for the readers at the end.
	drainLimit = 10 * time.Minute
)

// inside is a server in this process, with a trail and an event data store
// that take every management event.
type inside struct {
	srv    *server.Server
	attach *harness.Server
	trail  string // its ARN
	load   *load
}

const sustainedName = "sustained"

func startInside(ctx context.Context, dir string, set func(*config.Config)) (*inside, error) {
	cfg := config.Default()
	cfg.Data, cfg.HTTP, cfg.CQL, cfg.DigestInterval = dir, "127.0.0.1:0", "127.0.0.1:0", 20*time.Second
	set(&cfg)
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	srv, err := server.Start(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	in := &inside{srv: srv}
	if in.attach, err = harness.Attach(dir); err == nil {
		err = in.follow(ctx)
	}
	if err == nil {
		in.load, err = newLoad(srv, in.attach)
	}
	if err != nil {
		return nil, firstOf(err, srv.Stop())
	}
	return in, nil
}

// follow makes the trail and the event data store.
func (in *inside) follow(ctx context.Context) error {
	c := in.attach.AWS(in.attach.Profiles["admin"])
	name := aws.String(sustainedName)
	if _, err := c.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: name}); err != nil {
		return err
	}
	if _, err := c.S3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: name, Policy: aws.String(harness.TrailPolicy(*name, in.attach.Account))}); err != nil {
		return err
	}
	made, err := c.CloudTrail.CreateTrail(ctx, &cloudtrail.CreateTrailInput{Name: name, S3BucketName: name,
		IsMultiRegionTrail: aws.Bool(true), IncludeGlobalServiceEvents: aws.Bool(true), EnableLogFileValidation: aws.Bool(true)})
	if err != nil {
		return err
	}
	in.trail = *made.TrailARN
	if _, err := c.CloudTrail.StartLogging(ctx, &cloudtrail.StartLoggingInput{Name: name}); err != nil {
		return err
	}
	_, err = c.CloudTrail.CreateEventDataStore(ctx, &cloudtrail.CreateEventDataStoreInput{Name: name, MultiRegionEnabled: aws.Bool(true),
		AdvancedEventSelectors: []cttypes.AdvancedEventSelector{harness.Management()}})
	return err
}

// behind is how far each reader's durable cursor is behind the journal, and
// how many log files wait for their upload.
type behind struct {
	history, trail, lake uint64
	queued               int
}

func (b behind) most() uint64 { return max(b.history, b.trail, b.lake) }

func (in *inside) behind() (behind, error) {
	p := in.srv.Path()
	head := p.Journal.Head()
	var out behind
	for name, to := range map[string]*uint64{"history": &out.history, "trail/" + in.trail: &out.trail, "lake": &out.lake} {
		at, err := p.Journal.Cursor(name)
		if err != nil {
			return out, err
		}
		*to = head - min(at, head)
	}
	err := p.Store.Scan(kv.Key(kv.SpaceDeliver, "file", in.trail), func(_, _ []byte) (bool, error) {
		out.queued++
		return true, nil
	})
	return out, err
}

// sample is one second of a run.
type sample struct {
	at       time.Duration
	recorded int64 // so far
	resident int64
	behind   behind
}

func benchSustained(ctx context.Context, d time.Duration) error {
	dir, err := os.MkdirTemp("", "spoor-bench-sustained-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	in, err := startInside(ctx, dir, func(*config.Config) {})
	if err != nil {
		return err
	}
	if err := in.sustain(ctx, d); err != nil {
		return firstOf(err, in.srv.Stop())
	}
	if err := in.sizes(); err != nil {
		return firstOf(err, in.srv.Stop())
	}
	if err := in.srv.Stop(); err != nil {
		return err
	}
	return benchLag(ctx)
}

// sustain makes calls for d and then waits for the readers.
func (in *inside) sustain(ctx context.Context, d time.Duration) error {
	fmt.Printf("Recording sustained for %s. The server is in this process and its calls are made by %d goroutines on call.Path,\n"+
		"as listeners make them: authorised by IAM, recorded and synced before each returns, about %d bytes a record. Not included are\n"+
		"the network, TLS, the signature's check and the decoding, for which a client would take this machine's cores for itself. One\n"+
		"multi-region trail delivers to the object gateway with digests, an event data store takes everything, event history is on.\n"+
		"Calls are held back while a reader is more than %d records behind.\n\n", d, callers, in.load.size(), maxBehind)
	prof, err := os.CreateTemp("", "spoor-bench-*.pprof")
	if err != nil {
		return err
	}
	defer os.Remove(prof.Name())
	if err := pprof.StartCPUProfile(prof); err != nil {
		return err
	}
	cpu, err := in.cpu()
	if err != nil {
		return err
	}
	var held atomic.Bool
	var stop atomic.Bool
	var recorded atomic.Int64
	var group sync.WaitGroup
	errs := make([]error, callers)
	start := time.Now()
	for i := range callers {
		group.Go(func() { errs[i] = in.load.call(ctx, i, &recorded, &held, &stop) })
	}
	samples, err := in.watch(start, d, &recorded, &held)
	stop.Store(true)
	group.Wait()
	if err = firstOf(append(errs, err)...); err != nil {
		return err
	}
	total, took := recorded.Load(), time.Since(start)
	left, err := in.behind()
	if err != nil {
		return err
	}
	drained, err := in.drain()
	if err != nil {
		return err
	}
	after, err := in.cpu()
	if err != nil {
		return err
	}
	pprof.StopCPUProfile()
	stages, err := stagesOf(prof.Name())
	if err != nil {
		return err
	}
	if *profiles != "" {
		raw, err := os.ReadFile(prof.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(*profiles, "sustained.pprof"), raw, 0o600); err != nil {
			return err
		}
		// What each level of the store wrote, and how often.
		metrics := in.srv.Path().Store.DB().Metrics().String()
		if err := os.WriteFile(filepath.Join(*profiles, "sustained.store.txt"), []byte(metrics), 0o600); err != nil {
			return err
		}
	}
	rest, err := resident(os.Getpid())
	if err != nil {
		return err
	}
	in.report(samples, total, took, left, drained, rest)
	printStages(stages, after.total()-cpu.total(), after.gateway-cpu.gateway, total)
	return nil
}

// watch takes a sample each second and holds callers back when readers are too
// far behind.
func (in *inside) watch(start time.Time, d time.Duration, recorded *atomic.Int64, held *atomic.Bool) ([]sample, error) {
	var out []sample
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		at := time.Since(start)
		b, err := in.behind()
		if err != nil {
			return nil, err
		}
		held.Store(b.most() > maxBehind)
		if at >= time.Duration(len(out)+1)*time.Second {
			rss, err := resident(os.Getpid())
			if err != nil {
				return nil, err
			}
			out = append(out, sample{at, recorded.Load(), rss, b})
		}
		if at >= d {
			return out, nil
		}
	}
	return out, nil
}

// drain waits until the readers have everything but what they collect.
func (in *inside) drain() (time.Duration, error) {
	start := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		b, err := in.behind()
		if err != nil {
			return 0, err
		}
		if b.history == 0 && b.trail < collects && b.lake < collects && b.queued < 2 {
			break
		}
		if time.Since(start) > drainLimit {
			return 0, fmt.Errorf("after %s history is %d records behind, the trail %d, the event data store %d", drainLimit, b.history, b.trail, b.lake)
		}
	}
	return time.Since(start), nil
}

func (in *inside) report(samples []sample, total int64, took time.Duration, left behind, drained time.Duration, rest int64) {
	rates := make([]int64, 0, len(samples))
	last := int64(0)
	for _, s := range samples {
		rates = append(rates, s.recorded-last)
		last = s.recorded
	}
	sorted := slices.Sorted(slices.Values(rates))
	fmt.Printf("| | events/s |\n|---|---|\n| first second | %d |\n| median second | %d |\n| last second | %d |\n| mean while calls came | %.0f |\n| sustained: all records over the time until every reader had them | %.0f |\n\n",
		rates[0], sorted[len(sorted)/2], rates[len(rates)-1], float64(total)/took.Seconds(), float64(total)/(took+drained).Seconds())
	fmt.Printf("| at | history behind | trail behind | files to upload | store behind | resident |\n|---|---|---|---|---|---|\n")
	for i, s := range samples {
		if (i+1)%10 == 0 || i == len(samples)-1 {
			fmt.Printf("| %.0f s | %d | %d | %d | %d | %d MiB |\n", s.at.Seconds(), s.behind.history, s.behind.trail, s.behind.queued, s.behind.lake, s.resident>>20)
		}
	}
	fmt.Printf("| end | %d | %d | %d | %d | %d MiB after |\n\n", left.history, left.trail, left.queued, left.lake, rest>>20)
	fmt.Printf("The readers had everything %s after the last call.\n\n", drained.Round(100*time.Millisecond))
}

// sizes prints what a record takes in each form.
func (in *inside) sizes() error {
	p := in.srv.Path()
	if err := p.Store.DB().Flush(); err != nil {
		return err
	}
	n := int64(p.Journal.Head())
	space := func(prefix []byte) (int64, error) {
		size, err := p.Store.DB().EstimateDiskUsage(prefix, kv.PrefixEnd(prefix))
		return int64(size), err
	}
	fmt.Printf("Bytes a record, of %d:\n\n| Form | Bytes |\n|---|---|\n| JSON | %d |\n", n, in.load.size())
	for _, x := range []struct {
		name   string
		prefix []byte
	}{{"journal", []byte{byte(kv.SpaceJournal)}}, {"event history's index", []byte{byte(kv.SpaceHistory)}},
		{"event data store, not in files", kv.Key(kv.SpaceLake, "event")}} {
		size, err := space(x.prefix)
		if err != nil {
			return err
		}
		fmt.Printf("| %s | %d |\n", x.name, size/n)
	}
	rows, bytes, err := in.segments()
	if err != nil {
		return err
	}
	if rows > 0 {
		fmt.Printf("| event data store, Parquet (of %d records) | %d |\n", rows, bytes/rows)
	}
	files, err := dirSize(filepath.Join(in.attach.Dir, "objects"), ".json.gz")
	if err != nil {
		return err
	}
	fmt.Printf("| log files | %d |\n\n", files/n)
	return nil
}

// segments are the records and bytes of the event data store's Parquet files.
func (in *inside) segments() (rows, bytes int64, err error) {
	err = in.srv.Path().Store.Scan(kv.Key(kv.SpaceLake, "segment"), func(_, v []byte) (bool, error) {
		var s struct{ Rows, Bytes int64 }
		if err := json.Unmarshal(v, &s); err != nil {
			return false, err
		}
		rows, bytes = rows+s.Rows, bytes+s.Bytes
		return true, nil
	})
	return rows, bytes, err
}

func dirSize(dir, suffix string) (int64, error) {
	var n int64
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || len(path) < len(suffix) || path[len(path)-len(suffix):] != suffix {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// used is CPU time, user and system.
type used struct{ self, gateway time.Duration }

func (u used) total() time.Duration { return u.self + u.gateway }

// cpu is what this process and its children that run took so far.
func (in *inside) cpu() (used, error) {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return used{}, err
	}
	u := used{self: time.Duration(r.Utime.Nano() + r.Stime.Nano())}
	pids, err := children(os.Getpid())
	if err != nil {
		return u, err
	}
	for _, pid := range pids {
		t, err := processTime(pid)
		if err != nil {
			return u, err
		}
		u.gateway += t
	}
	return u, nil
}
