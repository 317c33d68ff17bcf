package tamper

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"spoor/internal/engine/pebble"
	"spoor/internal/kv"
	"spoor/internal/seal"
	"spoor/internal/verify"
	"spoor/test/harness"
)

var (
	withCLI = flag.Bool("aws", false, "run the AWS CLI over every tampering and write the table in docs/SECURITY.md")
	page    = filepath.Join("..", "..", "docs", "SECURITY.md")
)

const (
	tableBegin = "<!-- written by `make tamper` -->\n"
	tableEnd   = "<!-- end of the table -->\n"
)

// TestAWSCLI shows every tampering to a running server's `aws cloudtrail
// validate-logs` and writes what it finds beside what `spoor verify` finds.
func TestAWSCLI(t *testing.T) {
	if !*withCLI {
		t.Skip("needs the AWS CLI; make tamper runs it")
	}
	start := time.Now().UTC().Add(-9 * time.Hour).Truncate(time.Hour)
	srv, w := served(t, start)
	client := srv.AWS(srv.Profiles["admin"]).S3
	if found, _ := validateLogs(t, srv, start); len(found) > 0 {
		t.Fatalf("before any change: %q", found)
	}
	var rows strings.Builder
	missed := 0
	for i := range tamperings {
		c := &tamperings[i]
		f, cfg := w.tampered(c)
		own := w.verdict(t, cfg)
		cfg.Anchors, cfg.Checkpoints = nil, w.checkpoints()
		checkpoint := w.verdict(t, cfg)
		cfg.Checkpoints, cfg.CheckpointKeys = nil, nil
		alone := w.verdict(t, cfg)
		theirs := "cannot be shown"
		if !c.noCLI {
			changed := w.changed(f)
			apply(t, client, f, changed)
			found, status := validateLogs(t, srv, start)
			apply(t, client, w.files, changed)
			theirs = "**nothing**"
			if (status != 0) != (len(found) > 0) {
				t.Errorf("%s: exit code %d, invalid files %q", c.name, status, found)
			}
			if len(found) > 0 {
				theirs = w.told(found, changed)
			} else {
				missed++
			}
		}
		fmt.Fprintf(&rows, "| %s | %s | %s | %s | %s |\n", c.name, own, checkpoint, alone, theirs)
	}
	if found, _ := validateLogs(t, srv, start); len(found) > 0 {
		t.Fatalf("after all changes were taken back: %q", found)
	}
	version, err := exec.CommandContext(t.Context(), "aws", "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	cli, _, _ := strings.Cut(string(version), " ")
	table := fmt.Sprintf("%d ways to tamper; %s overlooks %d of them.\n\n", len(tamperings), cli, missed) +
		"| What was done | `spoor verify`, server's state | `spoor verify`, last checkpoint | `spoor verify`, bucket and public keys alone | `aws cloudtrail validate-logs` |\n|---|---|---|---|---|\n" + rows.String()
	writeTable(t, table)
}

// served delivers into the data directory of a server, and has the server run
// with the files in its bucket.
func served(t *testing.T, start time.Time) (*harness.Server, *world) {
	t.Helper()
	bin, err := harness.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "data")
	// Nothing is to be added to the bucket while the test runs.
	srv := harness.New(bin, dir, "--delivery-interval", "15m", "--digest-interval", "24h")
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	client := srv.AWS(srv.Profiles["admin"]).S3
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
		t.Fatal(err)
	}
	if err := srv.Stop(); err != nil {
		t.Fatal(err)
	}
	store, err := kv.Open(filepath.Join(dir, "store"), kv.Options{Merger: pebble.Merger()})
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := seal.LoadOrCreate(filepath.Join(dir, "keys", "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	w := deliver(t, store, sealer, start)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			t.Error(err)
		}
	})
	apply(t, srv.AWS(srv.Profiles["admin"]).S3, w.files, slices.Sorted(maps.Keys(w.files)))
	return srv, w
}

// apply makes the bucket's objects of some keys those of f.
func apply(t *testing.T, client *s3.Client, f files, keys []string) {
	t.Helper()
	for _, key := range keys {
		o, ok := f[key]
		var err error
		if ok {
			_, err = client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: bytes.NewReader(o.body), Metadata: o.meta})
		} else {
			_, err = client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(bucket), Key: &key})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// validateLogs runs AWS's validator in both regions: it looks at one at a
// time. It returns the keys that are called invalid and the highest exit code.
func validateLogs(t *testing.T, srv *harness.Server, start time.Time) (invalid []string, status int) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, region := range []string{home, abroad} {
		wg.Go(func() {
			out, code, err := runCLI(t.Context(), srv, region, start)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			status = max(status, code)
			if code > 1 {
				t.Errorf("validate-logs ended with %d:\n%s", code, out)
			}
			for line := range strings.Lines(out) {
				if key, ok := invalidKey(line); ok {
					invalid = append(invalid, key)
				}
			}
		})
	}
	wg.Wait()
	slices.Sort(invalid)
	return slices.Compact(invalid), status
}

func runCLI(ctx context.Context, srv *harness.Server, region string, start time.Time) (string, int, error) {
	cmd := exec.CommandContext(ctx, "aws", "cloudtrail", "validate-logs", "--trail-arn", trailARN, "--region", region,
		"--start-time", start.Format(time.RFC3339), "--verbose")
	cmd.Env = append(os.Environ(), srv.Environ(srv.Profiles["admin"])...)
	out, err := cmd.CombinedOutput()
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		return string(out), ee.ExitCode(), nil
	}
	return string(out), 0, err
}

// invalidKey is the object in a line that calls one invalid.
func invalidKey(line string) (string, bool) {
	_, rest, ok := strings.Cut(line, "s3://"+bucket+"/")
	if !ok || !strings.Contains(line, "INVALID") {
		return "", false
	}
	key, _, _ := strings.Cut(rest, "\t")
	return strings.TrimSpace(key), true
}

// told says in words what a validator named.
func (w *world) told(found, changed []string) string {
	digests, logs, wrong := 0, 0, 0
	for _, key := range found {
		if strings.Contains(key, "/CloudTrail-Digest/") {
			digests++
		} else {
			logs++
		}
		if !slices.Contains(changed, key) {
			wrong++
		}
	}
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{digests, "digest"}, {logs, "log file"}} {
		switch {
		case p.n == 1:
			parts = append(parts, "1 "+p.what)
		case p.n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", p.n, p.what))
		}
	}
	s := strings.Join(parts, ", ")
	if wrong == len(found) {
		s += ", none of them a changed one"
	}
	return s
}

// verdict says in words what `spoor verify` finds.
func (w *world) verdict(t *testing.T, cfg verify.Config) string {
	t.Helper()
	r, err := verify.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Findings) == 0 {
		return "**nothing**"
	}
	type sum struct {
		n      int
		ranges []string
	}
	sums := map[verify.Kind]*sum{}
	for i := range r.Findings {
		f := &r.Findings[i]
		s := sums[f.Kind]
		if s == nil {
			s = &sum{}
			sums[f.Kind] = s
		}
		s.n++
		if f.LastSeq > 0 {
			s.ranges = append(s.ranges, fmt.Sprintf("%d–%d", f.FirstSeq, f.LastSeq))
		}
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(sums)) {
		s := sums[k]
		p := string(k)
		if s.n > 1 {
			p += fmt.Sprintf(" ×%d", s.n)
		}
		if len(s.ranges) > 3 {
			s.ranges = []string{s.ranges[0], "…", s.ranges[len(s.ranges)-1]}
		}
		if len(s.ranges) > 0 {
			p += ": " + strings.Join(s.ranges, ", ")
		}
		parts = append(parts, p)
	}
	return strings.Join(parts, "; ")
}

func writeTable(t *testing.T, table string) {
	t.Helper()
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(raw), tableBegin)
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", page)
	}
	if err := os.WriteFile(page, []byte(before+tableBegin+"\n"+table+"\n"+tableEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestTable: the page's table is of the tamperings that are here.
func TestTable(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for i := range tamperings {
		if name := tamperings[i].name; strings.Count(string(raw), "\n| "+name+" | ") != 1 {
			t.Errorf("docs/SECURITY.md does not have %q once; make tamper writes it", name)
		}
	}
}
