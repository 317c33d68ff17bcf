package sigv4

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sigv4-auth-cassandra-gocql-driver-plugin/sigv4"
)

const (
	testKey    = "AKIDEXAMPLE"
	testSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

var (
	testNow  = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	errNoKey = errors.New("no such key")
)

func lookup(key, token string) (string, error) {
	if key != testKey || token != "" && token != "session" {
		return "", errNoKey
	}
	return testSecret, nil
}

func hashOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

// onWire sends a signed client request through serialisation, as a server
// gets it.
func onWire(t testing.TB, r *http.Request) *http.Request {
	t.Helper()
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	got, err := http.ReadRequest(bufio.NewReader(&b))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

var urls = []string{
	"http://athena.us-east-1.amazonaws.com/",
	"http://127.0.0.1:4566/?b=2&a=1&a=0&empty=&noval",
	"http://localhost:4566/a/b%20c/../d//e/?x=%2F%20%2B+y",
	"http://s3.localhost/bucket/key%20with%20%C3%BC%2Fand+plus~_-.(x)",
	"http://s3.localhost/bucket/a//b/./c?list-type=2&prefix=a%2Fb&delimiter=%2F",
}

// TestAgainstSDK signs with the SDK's signer and verifies: header and
// presigned, S3 and not, with and without a session token.
func TestAgainstSDK(t *testing.T) {
	t.Parallel()
	for _, s3 := range []bool{false, true} {
		for _, token := range []string{"", "session"} {
			for _, u := range urls {
				t.Run(fmt.Sprintf("s3=%v,token=%v,%s", s3, token != "", u), func(t *testing.T) {
					t.Parallel()
					creds := aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret, SessionToken: token}
					signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = s3 })
					body := `{"a":"b"}`
					req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, u, strings.NewReader(body))
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("X-Amz-Target", "Some.Target")
					req.Header.Set("X-Multi", "  a   b  ")
					if s3 {
						req.Header.Set("X-Amz-Content-Sha256", hashOf(body))
					}
					if err := signer.SignHTTP(t.Context(), creds, req, hashOf(body), "service", "eu-west-1", testNow); err != nil {
						t.Fatal(err)
					}
					o := Options{Now: testNow.Add(time.Minute), Skew: 5 * time.Minute, S3: s3, BodySHA256: hashOf(body)}
					got := onWire(t, req)
					v, err := Verify(got, lookup, o)
					if err != nil {
						t.Fatal(err)
					}
					if v.Region != "eu-west-1" || v.Service != "service" || v.AccessKeyID != testKey || v.SessionToken != token {
						t.Errorf("verified %+v", v)
					}
					if s3 {
						checkBodies(t, v, got, body)
					}
					get, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
					if err != nil {
						t.Fatal(err)
					}
					q := get.URL.Query()
					q.Set("X-Amz-Expires", "60")
					get.URL.RawQuery = q.Encode()
					payload := UnsignedPayload
					if !s3 {
						payload = hashOf("")
					}
					signed, _, err := signer.PresignHTTP(t.Context(), creds, get, payload, "service", "eu-west-1", testNow)
					if err != nil {
						t.Fatal(err)
					}
					pre, err := http.NewRequestWithContext(t.Context(), http.MethodGet, signed, nil)
					if err != nil {
						t.Fatal(err)
					}
					o.BodySHA256 = hashOf("")
					if v, err = Verify(onWire(t, pre), lookup, o); err != nil || !v.Presigned {
						t.Fatalf("presigned: %v", err)
					}
					o.Now = testNow.Add(61 * time.Second)
					wantReason(t, "presigned after its time", second(Verify(onWire(t, pre), lookup, o)), Expired)
				})
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

func wantReason(t *testing.T, what string, err error, want Reason) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Reason != want {
		t.Errorf("%s: got %v, want reason %d", what, err, want)
	}
}

func checkBodies(t *testing.T, v *Verified, r *http.Request, body string) {
	t.Helper()
	for text, ok := range map[string]bool{body: true, body + " ": false, "": false} {
		r.Body = io.NopCloser(strings.NewReader(text))
		b, err := v.Body(r)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadAll(b)
		if ok && err != nil {
			t.Errorf("the signed body: %v", err)
		} else if !ok {
			wantReason(t, "another body", err, PayloadMismatch)
		}
	}
}

// TestFlippedByte: whatever byte of a signed request changes, it is refused,
// unless the change does not touch what was signed.
func TestFlippedByte(t *testing.T) {
	t.Parallel()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://host.example/path?q=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Content-Sha256", emptySHA256)
	creds := aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}
	if err := v4.NewSigner().SignHTTP(t.Context(), creds, req, emptySHA256, "s3", "us-east-1", testNow); err != nil {
		t.Fatal(err)
	}
	o := Options{Now: testNow, Skew: 15 * time.Minute, S3: true}
	if _, err := Verify(onWire(t, req), lookup, o); err != nil {
		t.Fatal(err)
	}
	auth := req.Header.Get("Authorization")
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		b := []byte(auth)
		i := rng.IntN(len(b))
		b[i] ^= byte(1 + rng.IntN(255))
		changed := string(b)
		if strings.ContainsAny(changed, "\r\n\x00") || strings.TrimSpace(changed) == auth {
			continue
		}
		got := onWire(t, req)
		got.Header.Set("Authorization", changed)
		if _, err := Verify(got, lookup, o); err == nil && !sameParts(auth, changed) {
			t.Fatalf("accepted a changed header:\n%s\n%s", auth, changed)
		}
	}
	for name, change := range map[string]func(*http.Request){
		"method": func(r *http.Request) { r.Method = http.MethodPut },
		"path":   func(r *http.Request) { r.URL.Path = "/other" },
		"query":  func(r *http.Request) { r.URL.RawQuery = "q=2" },
		"host":   func(r *http.Request) { r.Host = "evil.example" },
		"hash":   func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", hashOf("x")) },
		"date":   func(r *http.Request) { r.Header.Set("X-Amz-Date", testNow.Add(time.Second).Format(timeLayout)) },
	} {
		got := onWire(t, req)
		change(got)
		wantReason(t, name, second(Verify(got, lookup, o)), Mismatch)
	}
}

// sameParts reports whether a change only moved blanks that separate parts.
func sameParts(a, b string) bool {
	return strings.Join(strings.Fields(a), "") == strings.Join(strings.Fields(b), "")
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	signed := func(change func(r *http.Request)) *http.Request {
		r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://h/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Amz-Content-Sha256", emptySHA256)
		if err := v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}, r, emptySHA256, "s3", "us-east-1", testNow); err != nil {
			t.Fatal(err)
		}
		change(r)
		return r
	}
	auth := func(v string) func(*http.Request) { return func(r *http.Request) { r.Header.Set("Authorization", v) } }
	tests := []struct {
		name   string
		change func(*http.Request)
		now    time.Time
		want   Reason
		s3     string
		api    string
	}{
		{"unsigned", func(r *http.Request) { r.Header.Del("Authorization") }, testNow, Missing, "AccessDenied", "MissingAuthenticationTokenException"},
		{"too old", func(*http.Request) {}, testNow.Add(time.Hour), Skewed, "RequestTimeTooSkewed", "InvalidSignatureException"},
		{"from the future", func(*http.Request) {}, testNow.Add(-time.Hour), Skewed, "RequestTimeTooSkewed", "InvalidSignatureException"},
		{"version 2", auth("AWS key:sig"), testNow, Unsupported, "InvalidRequest", "IncompleteSignatureException"},
		{"no parts", auth(Algorithm + " nothing"), testNow, Malformed, "AuthorizationHeaderMalformed", "IncompleteSignatureException"},
		{"short scope", auth(Algorithm + " Credential=a/b, SignedHeaders=host, Signature=" + emptySHA256), testNow, Malformed, "AuthorizationHeaderMalformed", "IncompleteSignatureException"},
		{"huge header", auth(Algorithm + strings.Repeat(" ", maxHeader)), testNow, Malformed, "AuthorizationHeaderMalformed", "IncompleteSignatureException"},
		{"unsigned x-amz header", func(r *http.Request) { r.Header.Set("X-Amz-Acl", "public-read") }, testNow, HeadersNotSigned, "AccessDenied", "IncompleteSignatureException"},
		{"no payload hash", func(r *http.Request) { r.Header.Del("X-Amz-Content-Sha256") }, testNow, MissingPayloadHash, "InvalidRequest", "InvalidSignatureException"},
		{"bad payload hash", func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "zz") }, testNow, BadPayloadHash, "InvalidArgument", "InvalidSignatureException"},
		{"long expiry", func(r *http.Request) {
			r.Header.Del("Authorization")
			r.URL.RawQuery = "X-Amz-Algorithm=" + Algorithm + "&X-Amz-Credential=a/20260304/r/s/aws4_request&X-Amz-Date=20260304T050607Z&X-Amz-Expires=604801&X-Amz-SignedHeaders=host&X-Amz-Signature=" + emptySHA256
		}, testNow, MalformedQuery, "AuthorizationQueryParametersError", "IncompleteSignatureException"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Verify(signed(tt.change), lookup, Options{Now: tt.now, Skew: 15 * time.Minute, S3: true})
			wantReason(t, tt.name, err, tt.want)
			var e *Error
			if errors.As(err, &e) && (e.S3().Code != tt.s3 || e.API(false).Code != tt.api) {
				t.Errorf("codes %s and %s, want %s and %s", e.S3().Code, e.API(false).Code, tt.s3, tt.api)
			}
		})
	}
	other := signed(func(*http.Request) {})
	if _, err := Verify(other, func(string, string) (string, error) { return "", errNoKey }, Options{Now: testNow, Skew: time.Hour, S3: true}); !errors.Is(err, errNoKey) {
		t.Errorf("the lookup's error is not passed on: %v", err)
	}
}

// chunked encodes data as a client does.
func chunked(v *Verified, data []string, signed bool, trailer string) string {
	var b strings.Builder
	prev := v.signature
	sign := func(head, rest string) string {
		s := Algorithm + "-" + head + "\n" + v.Date.Format(timeLayout) + "\n" + v.scope + "\n" + prev + "\n" + rest
		prev = hex.EncodeToString(mac(v.signingKey, s))
		return prev
	}
	for _, d := range append(data, "") {
		if signed {
			fmt.Fprintf(&b, "%x;chunk-signature=%s\r\n", len(d), sign("PAYLOAD", emptySHA256+"\n"+hashOf(d)))
		} else {
			fmt.Fprintf(&b, "%x\r\n", len(d))
		}
		if d != "" {
			b.WriteString(d + "\r\n")
		}
	}
	if trailer != "" {
		b.WriteString(trailer + "\r\n")
		if signed {
			b.WriteString("x-amz-trailer-signature:" + sign("TRAILER", hashOf(trailer+"\n")) + "\r\n")
		}
	}
	b.WriteString("\r\n")
	return b.String()
}

func TestChunks(t *testing.T) {
	t.Parallel()
	data := []string{strings.Repeat("a", 70_000), "b", strings.Repeat("c", 1000)}
	all := strings.Join(data, "")
	sum := crc32.ChecksumIEEE([]byte(all))
	trailer := "x-amz-checksum-crc32:" + base64.StdEncoding.EncodeToString([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
	for _, form := range []string{StreamingSigned, StreamingSignedTrailer, StreamingUnsignedTrailer} {
		v := &Verified{PayloadHash: form, Date: testNow, scope: "20260304/us-east-1/s3/aws4_request", signature: emptySHA256, signingKey: []byte("key")}
		tr := trailer
		if form == StreamingSigned {
			tr = ""
		}
		signed := form != StreamingUnsignedTrailer
		good := chunked(v, data, signed, tr)
		read := func(raw string, length int) (string, error) {
			r := httptest.NewRequest(http.MethodPut, "/", strings.NewReader(raw))
			r.Header.Set("X-Amz-Decoded-Content-Length", fmt.Sprint(length))
			r.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32")
			body, err := v.Body(r)
			if err != nil {
				t.Fatal(err)
			}
			out, err := io.ReadAll(body)
			return string(out), err
		}
		if out, err := read(good, len(all)); err != nil || out != all {
			t.Errorf("%s: %d bytes, %v", form, len(out), err)
		}
		bad := map[string]string{
			"truncated":       good[:len(good)/2],
			"without its end": good[:strings.LastIndex(good, "\r\n0")+2],
			"not chunks":      "hello\r\n",
			"a huge chunk":    "ffffffffffff\r\n",
			"a long header":   strings.Repeat("0", 5000) + "\r\n",
		}
		if signed {
			bad["changed data"] = strings.Replace(good, "ccc", "ccd", 1)
			bad["a chunk left out"] = strings.Replace(good, "\r\nb\r\n", "\r\n", 1)
		}
		if tr != "" {
			bad["changed checksum"] = strings.Replace(good, "crc32:", "crc32:A", 1)
		}
		for name, raw := range bad {
			if _, err := read(raw, len(all)); err == nil {
				t.Errorf("%s: %s was accepted", form, name)
			}
		}
		if _, err := read(good, len(all)-1); err == nil {
			t.Errorf("%s: more data than announced was accepted", form)
		}
		if _, err := read(good, len(all)+1); err == nil {
			t.Errorf("%s: less data than announced was accepted", form)
		}
	}
}

// TestSASLVector is the worked example of AWS's SigV4 plugins.
func TestSASLVector(t *testing.T) {
	t.Parallel()
	const nonce = "91703fdc2ef562e19fbdab0f58e42fe5"
	at := time.Date(2020, 6, 9, 22, 41, 51, 0, time.UTC)
	raw := "signature=7f3691c18a81b8ce7457699effbfae5b09b4e0714ab38c1292dbdf082c9ddd87,access_key=UserID-1,amzdate=2020-06-09T22:41:51.000Z"
	s, err := ParseSASL([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(nonce, "UserSecretKey-1", "us-west-2", at, time.Minute); err != nil {
		t.Error(err)
	}
	wantReason(t, "another nonce", s.Verify(nonce+"0", "UserSecretKey-1", "us-west-2", at, time.Minute), Mismatch)
	wantReason(t, "another region", s.Verify(nonce, "UserSecretKey-1", "us-west-1", at, time.Minute), Mismatch)
	wantReason(t, "another secret", s.Verify(nonce, "UserSecretKey-2", "us-west-2", at, time.Minute), Mismatch)
	wantReason(t, "too late", s.Verify(nonce, "UserSecretKey-1", "us-west-2", at.Add(time.Hour), time.Minute), Skewed)
	for _, bad := range []string{"", "signature=a", raw + ",signature=b", raw + ",x=y", strings.Repeat("a", maxSASL+1)} {
		if _, err := ParseSASL([]byte(bad)); err == nil {
			t.Errorf("%.40q was accepted", bad)
		}
	}
}

// TestSASLPlugin lets AWS's own client answer the challenge.
func TestSASLPlugin(t *testing.T) {
	t.Parallel()
	a := sigv4.AwsAuthenticator{Region: "eu-west-1", AccessKeyId: testKey, SecretAccessKey: testSecret, SessionToken: "tok/en+=="}
	first, next, err := a.Challenge(nil)
	if err != nil || string(first) != "SigV4\x00\x00" {
		t.Fatalf("%q, %v", first, err)
	}
	answer, _, err := next.Challenge([]byte("nonce=0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseSASL(answer)
	if err != nil {
		t.Fatal(err)
	}
	if s.AccessKeyID != testKey || s.SessionToken != "tok/en+==" {
		t.Errorf("parsed %+v", s)
	}
	if err := s.Verify("0123456789abcdef0123456789abcdef", testSecret, "eu-west-1", time.Now(), 5*time.Minute); err != nil {
		t.Error(err)
	}
}

func FuzzAuthorization(f *testing.F) {
	f.Add(Algorithm+" Credential=a/20260304/r/s/aws4_request, SignedHeaders=host, Signature="+emptySHA256, "20260304T050607Z", "")
	f.Add("", "", "X-Amz-Algorithm="+Algorithm+"&X-Amz-Credential=a%2F20260304%2Fr%2Fs%2Faws4_request&X-Amz-Date=20260304T050607Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature="+emptySHA256)
	f.Fuzz(func(t *testing.T, auth, date, query string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.RawQuery = query
		if auth != "" {
			r.Header.Set("Authorization", auth)
		}
		r.Header.Set("X-Amz-Date", date)
		for _, s3 := range []bool{true, false} {
			if _, err := Verify(r, lookup, Options{Now: testNow, Skew: time.Hour, S3: s3, BodySHA256: emptySHA256}); err == nil {
				t.Fatal("a made-up signature was accepted")
			}
		}
	})
}

func FuzzSASL(f *testing.F) {
	f.Add([]byte("signature=a,access_key=b,amzdate=2020-06-09T22:41:51.000Z,session_token=x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseSASL(b); err == nil && s.Verify("n", "secret", "r", s.time, time.Minute) == nil {
			t.Fatal("a made-up response was accepted")
		}
	})
}

func FuzzChunks(f *testing.F) {
	f.Add([]byte("3\r\nabc\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n"), int64(3), false)
	f.Add([]byte("0;chunk-signature=00\r\n\r\n"), int64(0), true)
	f.Fuzz(func(t *testing.T, raw []byte, length int64, signed bool) {
		v := &Verified{PayloadHash: StreamingUnsignedTrailer, Date: testNow, signingKey: []byte("k")}
		if signed {
			v.PayloadHash = StreamingSigned
		}
		r := httptest.NewRequest(http.MethodPut, "/", bytes.NewReader(raw))
		r.Header.Set("X-Amz-Decoded-Content-Length", fmt.Sprint(length))
		r.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32")
		body, err := v.Body(r)
		if err != nil {
			return
		}
		if n, err := io.Copy(io.Discard, body); err == nil && (n != length || signed) {
			t.Fatalf("accepted %d bytes of %d announced, signed %v", n, length, signed)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	req := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:4566/", nil)
	if err := v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}, req, emptySHA256, "athena", "us-east-1", testNow); err != nil {
		b.Fatal(err)
	}
	req.Host = "127.0.0.1:4566"
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Verify(req, lookup, Options{Now: testNow, Skew: time.Minute, BodySHA256: emptySHA256}); err != nil {
			b.Fatal(err)
		}
	}
}
