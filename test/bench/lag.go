package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"spoor/internal/config"
)

const (
	lagRate   = 2000 // calls a second
	lagFor    = 10 * time.Second
	lagSettle = 30 * time.Second // after the last call, for the last file
)

// benchLag measures how long after a call's answer its record is in the bucket
// and on a tail.
func benchLag(ctx context.Context) error {
	fmt.Printf("Lag from a call's answer at %d calls a second:\n\n| to | p50 | p99 |\n|---|---|---|\n", lagRate)
	for _, interval := range []time.Duration{time.Second, 15 * time.Second} {
		if err := lagWith(ctx, interval); err != nil {
			return err
		}
	}
	fmt.Println()
	return nil
}

// seen is when each event was answered, tailed and found in the bucket.
type seen struct {
	mu       sync.Mutex
	answered map[string]time.Time
	tailed   map[string]time.Time
}

func lagWith(ctx context.Context, interval time.Duration) error {
	dir, err := os.MkdirTemp("", "spoor-bench-lag-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	in, err := startInside(ctx, dir, func(c *config.Config) { c.DeliveryInterval = interval })
	if err != nil {
		return err
	}
	s := &seen{answered: map[string]time.Time{}, tailed: map[string]time.Time{}}
	tailing, stop := context.WithCancel(ctx)
	defer stop()
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- in.tail(tailing, s, ready) }()
	select {
	case <-ready:
	case err := <-ended:
		return firstOf(err, in.srv.Stop(), fmt.Errorf("the tail ended"))
	}
	found, err := in.lag(ctx, s, interval)
	stop()
	<-ended
	if err = firstOf(err, in.srv.Stop()); err != nil {
		return err
	}
	tail, bucket := s.since(s.tailed), s.since(found)
	if len(tail) == 0 || len(bucket) < len(s.answered) {
		return fmt.Errorf("of %d calls %d were tailed and %d are in the bucket", len(s.answered), len(tail), len(bucket))
	}
	fmt.Printf("| tail | %s | %s |\n| bucket, --delivery-interval %s | %s | %s |\n", quantile(tail, 0.5), quantile(tail, 0.99), interval, quantile(bucket, 0.5), quantile(bucket, 0.99))
	return nil
}

func (s *seen) since(at map[string]time.Time) []time.Duration {
	var out []time.Duration
	for id, t := range at {
		if a, ok := s.answered[id]; ok {
			out = append(out, max(0, t.Sub(a)))
		}
	}
	slices.Sort(out)
	return out
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	d := sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
	if d < 100*time.Millisecond {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(10 * time.Millisecond)
}

// lag makes calls at a steady rate and watches the bucket's files appear.
func (in *inside) lag(ctx context.Context, s *seen, interval time.Duration) (map[string]time.Time, error) {
	var group sync.WaitGroup
	var failed error
	var once sync.Once
	const workers = 20
	for w := range workers {
		group.Go(func() {
			tick := time.NewTicker(time.Second * workers / lagRate)
			defer tick.Stop()
			st := &step{l: in.load, n: w * 1_000_003}
			for start := time.Now(); time.Since(start) < lagFor; <-tick.C {
				id, err := in.load.one(ctx, st)
				now := time.Now()
				if err != nil {
					once.Do(func() { failed = err })
					return
				}
				s.mu.Lock()
				s.answered[id] = now
				s.mu.Unlock()
			}
		})
	}
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	files, err := in.watchBucket(done, interval+lagSettle)
	<-done
	if err = firstOf(failed, err); err != nil {
		return nil, err
	}
	found := map[string]time.Time{}
	for name, at := range files {
		ids, err := eventIDs(name)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			found[id] = at
		}
	}
	return found, nil
}

// watchBucket notes when each log file is there, until some time after done. A
// file is whole when it has its name.
func (in *inside) watchBucket(done <-chan struct{}, settle time.Duration) (map[string]time.Time, error) {
	files := map[string]time.Time{}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var end time.Time
	for now := range tick.C {
		err := filepath.WalkDir(filepath.Join(in.attach.Dir, "objects"), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.HasSuffix(path, ".json.gz") && strings.Contains(path, "/CloudTrail/") && files[path].IsZero() {
				files[path] = time.Now()
			}
			return nil // a temporary name that is gone
		})
		if err != nil {
			return nil, err
		}
		select {
		case <-done:
			if end.IsZero() {
				end = now.Add(settle)
			}
			b, err := in.behind()
			if err != nil || now.After(end) || b.trail < 100 && b.queued == 0 && in.idle(now, files) {
				return files, err
			}
		default:
		}
	}
	return files, nil
}

// idle reports whether no file came for a while.
func (in *inside) idle(now time.Time, files map[string]time.Time) bool {
	for _, at := range files {
		if now.Sub(at) < 2*time.Second {
			return false
		}
	}
	return len(files) > 0
}

func eventIDs(file string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	var log struct {
		Records []struct {
			EventID string `json:"eventID"`
		}
	}
	if err := json.NewDecoder(z).Decode(&log); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	out := make([]string, len(log.Records))
	for i, r := range log.Records {
		out[i] = r.EventID
	}
	return out, nil
}

// tail reads the live stream and notes when each event came.
func (in *inside) tail(ctx context.Context, s *seen, ready chan<- struct{}) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, in.attach.HTTP+"/_spoor/tail", nil)
	if err != nil {
		return err
	}
	p := in.attach.Profiles["admin"]
	sum := sha256.Sum256(nil)
	if err := v4.NewSigner().SignHTTP(ctx, aws.Credentials{AccessKeyID: p.AccessKeyID, SecretAccessKey: p.SecretAccessKey}, req,
		hex.EncodeToString(sum[:]), "cloudtrail", in.attach.Region, time.Now()); err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("tail: %s", res.Status)
	}
	close(ready)
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		now := time.Now()
		// The id's place is found without decoding, so that reading does not lag.
		_, rest, ok := strings.Cut(lines.Text(), `"eventID":"`)
		if id, _, end := strings.Cut(rest, `"`); ok && end {
			s.mu.Lock()
			s.tailed[id] = now
			s.mu.Unlock()
		}
	}
	return lines.Err()
}
