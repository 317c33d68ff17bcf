package objects

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestMain lets the test binary be the gateway's process.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "gateway" {
		if err := RunGateway(context.Background(), os.Stdin); err != nil {
			slog.Error("gateway", "err", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Config{Dir: dir, Command: []string{self, "gateway"}, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStore runs two stores in one process: objects, metadata, listing, and
// all of it again after a restart.
func TestStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx := t.Context()
	for round := range 2 {
		a, b := open(t, dir+"/a"), open(t, dir+"/b")
		if round == 0 {
			for _, s := range []*Store{a, b} {
				name := "bucket"
				if _, err := s.client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name}); err != nil {
					t.Fatal(err)
				}
			}
			for _, key := range []string{"x/1", "x/2", "x/3", "y"} {
				if err := a.Put(ctx, "bucket", key, []byte("body of "+key), PutOptions{ContentType: "application/json", ContentEncoding: "gzip",
					Metadata: map[string]string{"signature": "abc", "signature-algorithm": "SHA256withRSA"}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		body, info, err := a.Get(ctx, "bucket", "x/2")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); err != nil || string(got) != "body of x/2" {
			t.Fatalf("%q, %v", got, err)
		}
		if info.Metadata["signature"] != "abc" || info.ContentType != "application/json" || info.Size != int64(len(got)) {
			t.Errorf("%+v", info)
		}
		name, ok := a.LocalPath("bucket", "x/2")
		onDisk, err := os.ReadFile(name)
		if !ok || err != nil || !bytes.Equal(onDisk, got) {
			t.Errorf("%s holds %q (%v)", name, onDisk, err)
		}
		for path, want := range map[string]os.FileMode{name: 0o600, filepath.Dir(name): 0o700} {
			if st, err := os.Stat(path); err != nil {
				t.Error(err)
			} else if st.Mode().Perm() != want {
				t.Errorf("%s: %v, want %v", path, st.Mode(), want)
			}
		}
		var keys []string
		if err := a.List(ctx, "bucket", "x/", "x/1", func(i Item) bool { keys = append(keys, i.Key); return true }); err != nil {
			t.Fatal(err)
		}
		if len(keys) != 2 || keys[0] != "x/2" || keys[1] != "x/3" {
			t.Errorf("listed %q", keys)
		}
		if _, err := b.Head(ctx, "bucket", "x/2"); !errors.Is(err, ErrNoSuchKey) {
			t.Errorf("the other store has it too: %v", err)
		}
		if _, _, err := a.Get(ctx, "bucket", "nothing"); !errors.Is(err, ErrNoSuchKey) {
			t.Errorf("a missing object: %v", err)
		}
		if err := a.Put(ctx, "no-bucket", "k", nil, PutOptions{}); !errors.Is(err, ErrNoSuchBucket) {
			t.Errorf("a missing bucket: %v", err)
		}
		if err := errors.Join(a.Delete(ctx, "bucket", "nothing"), a.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestLocalPath(t *testing.T) {
	t.Parallel()
	s := &Store{root: "/data"}
	for _, key := range []string{"../x", "/etc/passwd", "a/../../b", ""} {
		if name, ok := s.LocalPath("bucket", key); ok {
			t.Errorf("%q is %s", key, name)
		}
	}
	for _, bucket := range []string{"..", "a/b", ""} {
		if name, ok := s.LocalPath(bucket, "k"); ok {
			t.Errorf("bucket %q is %s", bucket, name)
		}
	}
}

// TestElsewhere: what a delivery's put says goes to an S3 elsewhere as it is,
// and a lock goes with a checksum, without which S3 refuses it.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	var got http.Header
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			got = r.Header.Clone()
			return
		}
		_, _ = io.WriteString(w, `<ListAllMyBucketsResult><Buckets></Buckets></ListAllMyBucketsResult>`)
	}))
	defer srv.Close()
	s, err := Open(t.Context(), Config{Endpoint: srv.URL, Access: "a", Secret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	until := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	o := PutOptions{ContentType: "application/json", ContentEncoding: "gzip", ACL: "bucket-owner-full-control", Encryption: "AES256", Lock: &Lock{"COMPLIANCE", until}}
	if err := s.Put(t.Context(), "b", "k", []byte("x"), o); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"X-Amz-Acl": "bucket-owner-full-control", "X-Amz-Server-Side-Encryption": "AES256", "X-Amz-Object-Lock-Mode": "COMPLIANCE",
		"X-Amz-Object-Lock-Retain-Until-Date": "2030-01-02T03:04:05Z", "X-Amz-Checksum-Crc32": "jNwWgw==", "Content-Encoding": "gzip"} {
		if got.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Get(name), want)
		}
	}
	plain, err := Open(t.Context(), Config{Endpoint: srv.URL, Access: "a", Secret: "s", Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := plain.Put(t.Context(), "b", "k", []byte("x"), o); err != nil || got.Get("X-Amz-Acl") != o.ACL || len(got.Values("X-Amz-Server-Side-Encryption")) != 0 {
		t.Errorf("without encryption: %v, headers %v", err, got)
	}
	// The bucket's default, for what is put without a lock.
	s.DefaultLock(func(string, time.Time) *Lock { return &Lock{"GOVERNANCE", until} })
	if err := s.Put(t.Context(), "b", "k", []byte("x"), PutOptions{}); err != nil || got.Get("X-Amz-Object-Lock-Mode") != "GOVERNANCE" || got.Get("X-Amz-Acl") != "" {
		t.Errorf("%v, headers %v", err, got)
	}
}

// TestElsewhereStarts: an S3 elsewhere that drops connections while it starts is
// asked again, and one that refuses is not.
func TestElsewhereStarts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		drops   int32
		refuses bool
		asked   int32
	}{{"drops", 3, false, 4}, {"refuses", 0, true, 1}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if asked.Add(1) <= tt.drops {
					panic(http.ErrAbortHandler)
				}
				if tt.refuses {
					w.WriteHeader(http.StatusForbidden)
					_, _ = io.WriteString(w, `<Error><Code>InvalidAccessKeyId</Code><Message>unknown</Message></Error>`)
					return
				}
				_, _ = io.WriteString(w, `<ListAllMyBucketsResult><Buckets></Buckets></ListAllMyBucketsResult>`)
			}))
			defer srv.Close()
			_, err := Open(t.Context(), Config{Endpoint: srv.URL, Access: "a", Secret: "s"})
			if (err != nil) != tt.refuses || asked.Load() != tt.asked {
				t.Errorf("asked %d times: %v", asked.Load(), err)
			}
			if tt.refuses && !strings.Contains(err.Error(), "look at its credentials") {
				t.Error(err)
			}
		})
	}
}

// TestPutLocked: an object that is there with its lock is not written again;
// one whose lock or content is another's is, and what it covers stays.
func TestPutLocked(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir()+"/o")
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, name, key := t.Context(), "worm", "AWSLogs/x.json.gz"
	if _, err := s.client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name, ObjectLockEnabledForBucket: new(true)}); err != nil {
		t.Fatal(err)
	}
	days := func(n int) func(time.Time) time.Time {
		return func(at time.Time) time.Time { return at.AddDate(0, 0, n) }
	}
	o := PutOptions{ContentType: "application/json", Metadata: map[string]string{"first": "1"}}
	versions := func() int {
		out, err := s.client.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &name})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.Versions)
	}
	put := func(body, mode string, n, want int) Lock {
		t.Helper()
		lock, err := s.PutLocked(ctx, name, key, []byte(body), o, mode, days(n))
		if err != nil {
			t.Fatal(err)
		}
		info, err := s.Head(ctx, name, key)
		if err != nil || info.Lock == nil || !info.Lock.Until.Equal(lock.Until) || info.Lock.Mode != lock.Mode || lock.Until.Before(info.LastModified.AddDate(0, 0, n)) {
			t.Errorf("returned %v, the object has %v (%v)", lock, info.Lock, err)
		}
		if got := versions(); got != want {
			t.Errorf("%d versions, want %d", got, want)
		}
		return lock
	}
	first := put("content", "GOVERNANCE", 2, 1)
	if again := put("content", "GOVERNANCE", 2, 1); again != first {
		t.Errorf("the second call returned %v, the first %v", again, first)
	}
	put("content", "GOVERNANCE", 1, 1) // it has more
	put("content", "COMPLIANCE", 2, 2)
	put("content", "GOVERNANCE", 2, 2) // it has more
	put("content", "COMPLIANCE", 5, 3)
	put("other", "COMPLIANCE", 5, 4)
	// A put that ended before the lock was set.
	if err := s.Put(ctx, name, key, []byte("content"), o); err != nil {
		t.Fatal(err)
	}
	put("content", "COMPLIANCE", 5, 6)
	if _, err := s.PutLocked(ctx, "absent", key, nil, o, "COMPLIANCE", days(1)); !errors.Is(err, ErrNoSuchBucket) {
		t.Errorf("a missing bucket: %v", err)
	}
}
