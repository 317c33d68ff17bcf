package s3

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"spoor/internal/aws"
)

func request(t testing.TB, method, target string) *http.Request {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Skip(err)
	}
	r := httptest.NewRequest(method, "/", nil)
	r.URL, r.Host = u, "127.0.0.1:4566"
	return r
}

// TestTarget: what a request is about, and requests that would mean one thing
// to the permissions and another to the storage.
func TestTarget(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		method, target, copyOf string
		op, bucket, key, code  string
	}{
		{"GET", "/", "", "ListBuckets", "", "", ""},
		{"GET", "/data?list-type=2&prefix=a%2F", "", "ListObjects", "data", "", ""},
		{"GET", "/data?versions", "", "ListObjectVersions", "data", "", ""},
		{"GET", "/data/a/b%20c", "", "GetObject", "data", "a/b c", ""},
		{"GET", "/data/dir/", "", "GetObject", "data", "dir/", ""},
		{"PUT", "/data/k", "/data/other", "CopyObject", "data", "k", ""},
		{"PUT", "/data/k?partNumber=1&uploadId=u1", "", "UploadPart", "data", "k", ""},
		{"PUT", "/data/k?partNumber=1&uploadId=u1", "/data/other", "UploadPartCopy", "data", "k", ""},
		{"PUT", "/data/k?uploadId=u1", "", "", "", "", "InvalidArgument"},
		{"PUT", "/data/k?partNumber=10001&uploadId=u1", "", "", "", "", "InvalidArgument"},
		{"PUT", "/data/k?tagging&uploadId=u1&partNumber=1", "", "PutObjectTagging", "data", "k", ""},
		{"GET", "/data/public/../private/k", "", "", "", "", "InvalidURI"},
		{"GET", "/data/public/%2e%2e/private/k", "", "", "", "", "InvalidURI"},
		{"GET", "/data/./private/k", "", "", "", "", "InvalidURI"},
		{"GET", "/data//private/k", "", "", "", "", "InvalidURI"},
		{"GET", "/data/public//k", "", "", "", "", "InvalidURI"},
		{"GET", "/data/..", "", "", "", "", "InvalidURI"},
		{"GET", "/data/.sgwtmp/multipart/x", "", "", "", "", "InvalidURI"},
		{"GET", "/data/k%00", "", "", "", "", "InvalidURI"},
		{"GET", "/data/" + strings.Repeat("k", 1025), "", "", "", "", "KeyTooLongError"},
		{"GET", "/data/k?versionId=..%2F..%2Fx", "", "", "", "", "InvalidArgument"},
		{"GET", "/data/k?versionId=..", "", "", "", "", "InvalidArgument"},
		{"DELETE", "/data/k?uploadId=..%2F..%2Fx", "", "", "", "", "NoSuchUpload"},
		{"GET", "/UPPER/k", "", "", "", "", "InvalidBucketName"},
		{"POST", "/data/k", "", "none", "data", "k", ""}, // a form's POST is not offered
		{"POST", "/data", "", "none", "data", "", ""},
	} {
		r := request(t, tc.method, tc.target)
		if tc.copyOf != "" {
			r.Header.Set("X-Amz-Copy-Source", tc.copyOf)
		}
		got, err := parseTarget(r)
		if tc.code != "" {
			if err == nil || aws.AsError(err).Code != tc.code {
				t.Errorf("%s %s: %v, want %s", tc.method, tc.target, err, tc.code)
			}
			continue
		}
		name := "none"
		if got.op != nil {
			name = got.op.name
		}
		if err != nil || name != tc.op || got.bucket != tc.bucket || got.key != tc.key {
			t.Errorf("%s %s: %s of %q, %q, %v", tc.method, tc.target, name, got.bucket, got.key, err)
		}
	}
}

func TestCopySource(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		header string
		want   source
		code   string
	}{
		{"/data/k", source{bucket: "data", key: "k"}, ""},
		{"data/a%2Fb", source{bucket: "data", key: "a/b"}, ""},
		{"data/a%253Fb", source{bucket: "data", key: "a%3Fb"}, ""},
		{"data/k?versionId=v1", source{"data", "k", "v1"}, ""},
		{"data/public/../private/k", source{}, "InvalidURI"},
		{"data/public%2F..%2Fprivate", source{}, "InvalidURI"},
		{"data/k?versionId=../v1", source{}, "InvalidArgument"},
		{"data/k?versionId=v1&x=y", source{}, "InvalidArgument"},
		{"data", source{}, "InvalidArgument"},
		{"data/", source{}, "InvalidArgument"},
		{"%zz/k", source{}, "InvalidArgument"},
	} {
		got, err := copySource(tc.header)
		code := ""
		if err != nil {
			code = aws.AsError(err).Code
		}
		if got != tc.want || code != tc.code {
			t.Errorf("%q: %+v, %v", tc.header, got, err)
		}
	}
}

// safe says that the storage cannot take a name for another.
func safe(t *testing.T, key string) {
	for part := range strings.SplitSeq(strings.TrimSuffix(key, "/"), "/") {
		if part == "" || part == "." || part == ".." {
			t.Fatalf("the key %q got through", key)
		}
	}
}

func FuzzTargetKey(f *testing.F) {
	for _, s := range []string{"/", "/data/k?uploadId=u&partNumber=1", "/data/a/../b", "/data?delete", "/data/k?versionId=%2e%2e"} {
		f.Add("GET", s)
	}
	f.Fuzz(func(t *testing.T, method, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			t.Skip()
		}
		r := &http.Request{Method: method, URL: u, Host: "127.0.0.1", Header: http.Header{}}
		got, err := parseTarget(r)
		if err != nil || got.key == "" {
			return
		}
		safe(t, got.key)
		if strings.ContainsRune(got.query.Get("versionId"), '/') {
			t.Fatalf("the version %q got through", got.query.Get("versionId"))
		}
	})
}

func FuzzCopySource(f *testing.F) {
	for _, s := range []string{"/data/k", "data/a%2F..%2Fb", "data/k?versionId=v1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		got, err := copySource(header)
		if err != nil {
			return
		}
		safe(t, got.key)
		// What is sent to the storage says the same again.
		again, err := copySource("/" + got.bucket + "/" + escapePath(got.key))
		if err != nil || again.bucket != got.bucket || again.key != got.key {
			t.Fatalf("%q became %+v and then %+v, %v", header, got, again, err)
		}
	})
}
