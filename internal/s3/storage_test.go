package s3

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"spoor/internal/call"
	"spoor/internal/objects"
)

// TestMain lets the test binary be the gateway's process.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "gateway" {
		if err := objects.RunGateway(context.Background(), os.Stdin); err != nil {
			slog.Error("gateway", "err", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// stored is a front over the embedded storage, with a bucket made through it.
type stored struct {
	*Front
	t *testing.T
}

func newStored(t *testing.T) stored {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f := newTestFront(t)
	if f.Store, err = objects.Open(t.Context(), objects.Config{Dir: t.TempDir(), Command: []string{self, "gateway"}, Log: f.Log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Store.Close(); err != nil {
			t.Error(err)
		}
	})
	// As a caller who may do everything: owner's denials are another test's.
	f.Path.Auth = everything{}
	s := stored{f, t}
	s.do(http.StatusOK, "", http.MethodPut, "/stored", "")
	return s
}

type everything struct{ owner }

func (everything) Authorize(context.Context, *call.Call, []call.Permission) error { return nil }

// do sends a request, expects an answer and returns its body.
func (s stored) do(status int, code, method, target, body string, header ...string) string {
	s.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != status || code != "" && !strings.Contains(w.Body.String(), "<Code>"+code+"</Code>") {
		s.t.Errorf("%s %s %q: %d %s, want %d %s", method, target, header, w.Code, w.Body, status, code)
	}
	return w.Body.String()
}

// TestCopy copies an object, and a range of one into a part.
func TestCopy(t *testing.T) {
	t.Parallel()
	s := newStored(t)
	s.do(200, "", "PUT", "/stored/from", "hello")
	s.do(200, "", "PUT", "/stored/to", "", "X-Amz-Copy-Source", "/stored/from")
	if got := s.do(200, "", "GET", "/stored/to", ""); got != "hello" {
		t.Errorf("the copy holds %q", got)
	}
	answer := s.do(200, "", "POST", "/stored/parts?uploads", "")
	_, rest, _ := strings.Cut(answer, "<UploadId>")
	upload, _, _ := strings.Cut(rest, "</UploadId>")
	answer = s.do(200, "", "PUT", "/stored/parts?partNumber=1&uploadId="+upload, "", "X-Amz-Copy-Source", "/stored/from", "X-Amz-Copy-Source-Range", "bytes=1-3")
	_, rest, _ = strings.Cut(answer, "<ETag>")
	etag, _, _ := strings.Cut(rest, "</ETag>")
	s.do(200, "", "POST", "/stored/parts?uploadId="+upload,
		"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"+etag+"</ETag></Part></CompleteMultipartUpload>")
	if got := s.do(200, "", "GET", "/stored/parts", ""); got != "ell" {
		t.Errorf("the copied part holds %q", got)
	}
}

// TestConditionalDeletes: an object that is not what the caller takes it for
// stays.
func TestConditionalDeletes(t *testing.T) {
	t.Parallel()
	s := newStored(t)
	for _, k := range []string{"a", "b", "c", "d"} {
		s.do(200, "", "PUT", "/stored/"+k, "hello")
	}
	const right, wrong = "&quot;5d41402abc4b2a76b9719d911017c592&quot;", "&quot;00000000000000000000000000000000&quot;"
	answer := s.do(200, "", "POST", "/stored?delete", "<Delete>"+
		"<Object><Key>a</Key><ETag>"+wrong+"</ETag></Object><Object><Key>b</Key><ETag>"+right+"</ETag></Object>"+
		"<Object><Key>c</Key></Object><Object><Key>d</Key><Size>9</Size></Object></Delete>")
	for _, want := range []string{"<Error><Key>a</Key><Code>PreconditionFailed</Code>", "<Deleted><Key>b</Key>", "<Deleted><Key>c</Key>", "<Error><Key>d</Key><Code>NotImplemented</Code>"} {
		if !strings.Contains(answer, want) {
			t.Errorf("%s lacks %s", answer, want)
		}
	}
	s.do(200, "", "GET", "/stored/a", "")
	s.do(404, "NoSuchKey", "GET", "/stored/b", "")
	s.do(404, "NoSuchKey", "GET", "/stored/c", "")
	s.do(200, "", "GET", "/stored/d", "")
	s.do(412, "PreconditionFailed", "DELETE", "/stored/a", "", "If-Match", `"00000000000000000000000000000000"`)
	s.do(501, "NotImplemented", "DELETE", "/stored/a", "", "X-Amz-If-Match-Size", "9")
}

// TestExpectedOwner: who names another owner does not get at the bucket.
func TestExpectedOwner(t *testing.T) {
	t.Parallel()
	s := newStored(t)
	const other = "999999999999"
	s.do(200, "", "PUT", "/stored/k", "hello", "X-Amz-Expected-Bucket-Owner", account)
	for _, r := range [][2]string{{"PUT", "/stored/k"}, {"GET", "/stored/k"}, {"DELETE", "/stored/k"}, {"GET", "/stored"}, {"DELETE", "/stored"}} {
		s.do(403, "AccessDenied", r[0], r[1], "", "X-Amz-Expected-Bucket-Owner", other)
	}
	s.do(403, "AccessDenied", "PUT", "/stored/copy", "", "X-Amz-Copy-Source", "/stored/k", "X-Amz-Source-Expected-Bucket-Owner", other)
	s.do(400, "InvalidBucketOwnerAWSAccountID", "GET", "/stored/k", "", "X-Amz-Expected-Bucket-Owner", "me")
	if got := s.do(200, "", "GET", "/stored/k", ""); got != "hello" {
		t.Errorf("the object holds %q", got)
	}
}
