package server

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/cql"
	cqlserver "spoor/internal/cql/server"
	"spoor/internal/guard"
	"spoor/internal/iam"
	"spoor/internal/journal"
	"spoor/internal/keyspaces"
	"spoor/internal/kv"
	"spoor/internal/seal"
)

// door is an authenticator on a directory with one account and a clock that the
// test moves.
type door struct {
	*authenticator
	boot iam.Bootstrap
	t    time.Time
}

func newDoor(t testing.TB, failures int) *door {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	store, err := kv.Open("store", kv.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	sealer, err := seal.New(make([]byte, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	d := &door{t: time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)}
	now := func() time.Time { return d.t }
	dir, err := iam.Open(iam.Config{Store: store, Sealer: sealer, Now: now, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.Bootstrap("111122223333", func(b iam.Bootstrap, batch *kv.Batch) error {
		d.boot = b
		return batch.Close()
	}); err != nil {
		t.Fatal(err)
	}
	d.authenticator = &authenticator{directory: dir, guard: guard.New(failures, now), now: now, region: "us-east-1", class: "x", log: log}
	return d
}

// signed is a request signed at the door's time.
func (d *door) signed(t testing.TB, key, secret, service, region string, skew time.Duration) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://localhost/", http.NoBody)
	sum := sha256.Sum256(nil)
	hash := hex.EncodeToString(sum[:])
	if service == "s3" {
		r.Header.Set("X-Amz-Content-Sha256", hash)
	}
	if err := v4.NewSigner().SignHTTP(t.Context(), sdkaws.Credentials{AccessKeyID: key, SecretAccessKey: secret}, r, hash, service, region, d.t.Add(skew)); err != nil {
		t.Fatal(err)
	}
	return r
}

func (d *door) admin(t testing.TB, service, region string, skew time.Duration) *http.Request {
	return d.signed(t, d.boot.AdminKeyID, d.boot.AdminSecret, service, region, skew)
}

func wantCode(t testing.TB, what string, err error, code, text string) {
	t.Helper()
	if code == "" {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		return
	}
	if err == nil {
		t.Errorf("%s: accepted, want %s", what, code)
		return
	}
	if e := aws.AsError(err); e.Code != code || !strings.Contains(e.Message, text) {
		t.Errorf("%s: %s: %s\nwant %s: …%s…", what, e.Code, e.Message, code, text)
	}
}

func TestASignatureServesForItsScope(t *testing.T) {
	t.Parallel()
	d := newDoor(t, 0)
	for _, tt := range []struct {
		service, region, at string // at is the service that the request is for
		query               bool
		code, text          string
	}{
		{"athena", "us-east-1", "athena", false, "", ""},
		{"athena", "eu-west-1", "athena", false, "", ""},
		{"athena", "us-east-1", "cloudtrail", false, "InvalidSignatureException", "Credential should be scoped to correct service: 'cloudtrail'. "},
		{"s3", "us-east-1", "iam", true, "SignatureDoesNotMatch", "Credential should be scoped to correct service: 'iam'. "},
		{"athena", "xx-nowhere-1", "athena", false, "InvalidSignatureException", "Credential should be scoped to a valid region, not 'xx-nowhere-1'. "},
		{"athena", "..", "athena", false, "InvalidSignatureException", "Credential should be scoped to a valid region, not '..'. "},
		{"sts", strings.Repeat("a", 300), "sts", true, "SignatureDoesNotMatch", "valid region"},
	} {
		id, err := d.Authenticate(d.admin(t, tt.service, tt.region, 0), nil, tt.at, tt.query)
		wantCode(t, tt.service+" "+tt.region+" at "+tt.at, err, tt.code, tt.text)
		if err == nil && (id.Region != tt.region || id.Caller.UserName != "admin") {
			t.Errorf("the identity is %+v", id)
		}
	}
	for _, tt := range []struct{ service, region, code string }{
		{"s3", "us-east-1", ""}, {"s3", "eu-west-1", ""},
		{"athena", "us-east-1", "AuthorizationHeaderMalformed"}, {"s3", "../..", "AuthorizationHeaderMalformed"}, {"s3", "..", "AuthorizationHeaderMalformed"},
	} {
		r := d.admin(t, tt.service, tt.region, 0)
		r.Header.Set("X-Amz-Content-Sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
		_, err := d.AuthenticateS3(r)
		wantCode(t, "s3: "+tt.service+" "+tt.region, err, tt.code, "")
	}
}

func TestCredentialsThatAreNotAccepted(t *testing.T) {
	t.Parallel()
	d := newDoor(t, 0)
	made, err := d.directory.Issue(iam.SessionRequest{Account: d.boot.Account, Type: aws.Root, Duration: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	session := func(service string) *http.Request {
		r := d.signed(t, made.AccessKeyID, made.SecretAccessKey, service, "us-east-1", 0)
		r.Header.Del("Authorization")
		sum := sha256.Sum256(nil)
		r.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
		err := v4.NewSigner().SignHTTP(t.Context(), sdkaws.Credentials{AccessKeyID: made.AccessKeyID, SecretAccessKey: made.SecretAccessKey, SessionToken: made.SessionToken},
			r, hex.EncodeToString(sum[:]), service, "us-east-1", d.t)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	unknown := func(service string) *http.Request {
		return d.signed(t, "AKIAIOSFODNN7EXAMPLE", "x", service, "us-east-1", 0)
	}
	wrong := func(service string) *http.Request {
		return d.signed(t, d.boot.AdminKeyID, "x", service, "us-east-1", 0)
	}
	check := func(what string, r func(string) *http.Request, json, query, s3 string) {
		t.Helper()
		_, err := d.Authenticate(r("athena"), nil, "athena", false)
		wantCode(t, what+", JSON", err, json, "")
		_, err = d.Authenticate(r("iam"), nil, "iam", true)
		wantCode(t, what+", query", err, query, "")
		_, err = d.AuthenticateS3(r("s3"))
		wantCode(t, what+", S3", err, s3, "")
	}
	check("session", session, "", "", "")
	check("unknown key", unknown, "UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId")
	check("wrong secret", wrong, "InvalidSignatureException", "SignatureDoesNotMatch", "SignatureDoesNotMatch")
	broken := func(service string) *http.Request {
		r := session(service)
		r.Header.Set("X-Amz-Security-Token", "AAAA")
		return r
	}
	check("session with a broken token", broken, "UnrecognizedClientException", "InvalidClientTokenId", "InvalidToken")
	d.t = d.t.Add(2 * time.Hour)
	check("session that is over", session, "ExpiredTokenException", "ExpiredToken", "ExpiredToken")
}

func TestClockSkew(t *testing.T) {
	t.Parallel()
	d := newDoor(t, 1) // a wrong clock is no guess: it slows nobody down
	for _, tt := range []struct {
		skew    time.Duration
		api, s3 bool
	}{
		{0, true, true}, {5 * time.Minute, true, true}, {-5 * time.Minute, true, true},
		{5*time.Minute + time.Second, false, true}, {-5*time.Minute - time.Second, false, true},
		{15 * time.Minute, false, true}, {-15 * time.Minute, false, true},
		{15*time.Minute + time.Second, false, false}, {-15*time.Minute - time.Second, false, false},
	} {
		_, err := d.Authenticate(d.admin(t, "athena", "us-east-1", tt.skew), nil, "athena", false)
		if (err == nil) != tt.api {
			t.Errorf("API, %s off: %v", tt.skew, err)
		}
		_, err = d.AuthenticateS3(d.admin(t, "s3", "us-east-1", tt.skew))
		if (err == nil) != tt.s3 {
			t.Errorf("S3, %s off: %v", tt.skew, err)
		}
	}
}

func TestFailedSignaturesSlowAnAddressDown(t *testing.T) {
	t.Parallel()
	d := newDoor(t, 6)
	from := func(r *http.Request, addr string) *http.Request {
		r.RemoteAddr = addr + ":1234"
		return r
	}
	bad := func(key string) *http.Request { return d.signed(t, key, "wrong", "athena", "us-east-1", 0) }
	// root has been there before.
	root := func() *http.Request {
		return d.signed(t, d.boot.RootAccessKeyID, d.boot.RootSecret, "athena", "us-east-1", 0)
	}
	_, err := d.Authenticate(from(root(), "192.0.2.1"), nil, "athena", false)
	wantCode(t, "root", err, "", "")
	for i := range 6 {
		_, err := d.Authenticate(from(bad(fmt.Sprintf("AKIAIOSFODNN7EXAMPL%d", i)), "192.0.2.1"), nil, "athena", false)
		wantCode(t, "guess", err, "UnrecognizedClientException", "")
	}
	good := func() *http.Request { return d.admin(t, "athena", "us-east-1", 0) }
	_, err = d.Authenticate(from(good(), "192.0.2.1"), nil, "athena", false)
	wantCode(t, "even a right one", err, "ThrottlingException", "Rate exceeded")
	_, err = d.Authenticate(from(good(), "192.0.2.1"), nil, "athena", true)
	wantCode(t, "query", err, "Throttling", "Rate exceeded")
	_, err = d.AuthenticateS3(from(d.admin(t, "s3", "us-east-1", 0), "192.0.2.1"))
	wantCode(t, "S3", err, "SlowDown", "")
	wantCode(t, "unsigned", d.admitUnsigned(from(good(), "192.0.2.1")), "Throttling", "")
	_, err = d.Plain(t.Context(), connFrom("192.0.2.1"), d.boot.CQLUser, d.boot.CQLPassword)
	if e := cql.AsError(err); e.Code != cql.CodeOverloaded {
		t.Errorf("a login from there: %v", err)
	}
	_, err = d.Authenticate(from(root(), "192.0.2.1"), nil, "athena", false)
	wantCode(t, "a key that succeeded from there before", err, "", "")
	_, err = d.Authenticate(from(good(), "192.0.2.2"), nil, "athena", false)
	wantCode(t, "another address", err, "", "")
	_, err = d.Authenticate(from(bad("AKIAIOSFODNN7EXAMPL9"), "192.0.2.1"), nil, "athena", false)
	wantCode(t, "root's success cleared nothing", err, "ThrottlingException", "")
	d.t = d.t.Add(11 * time.Second)
	_, err = d.Authenticate(from(good(), "192.0.2.1"), nil, "athena", false)
	wantCode(t, "later", err, "", "")
}

func connFrom(addr string) *cqlserver.ConnInfo {
	return &cqlserver.ConnInfo{ID: 1, Remote: netip.AddrPortFrom(netip.MustParseAddr(addr), 5000)}
}

// saslAnswer signs a nonce as AWS's plugins for Cassandra drivers do.
func saslAnswer(key, secret, region, nonce string, at time.Time) []byte {
	const layout = "2006-01-02T15:04:05.000Z"
	date, day := at.Format(layout), at.Format("20060102")
	scope := day + "/" + region + "/cassandra/aws4_request"
	hash := func(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }
	mac := func(k []byte, s string) []byte {
		m := hmac.New(sha256.New, k)
		m.Write([]byte(s))
		return m.Sum(nil)
	}
	canonical := "PUT\n/authenticate\nX-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + url.QueryEscape(key+"/"+scope) +
		"&X-Amz-Date=" + url.QueryEscape(date) + "&X-Amz-Expires=900\nhost:cassandra\n\nhost\n" + hash(nonce)
	k := []byte("AWS4" + secret)
	for _, s := range []string{day, region, "cassandra", "aws4_request"} {
		k = mac(k, s)
	}
	sig := hex.EncodeToString(mac(k, "AWS4-HMAC-SHA256\n"+date+"\n"+scope+"\n"+hash(canonical)))
	return []byte("signature=" + sig + ",access_key=" + key + ",amzdate=" + date)
}

func TestASASLNonceServesOnce(t *testing.T) {
	t.Parallel()
	d := newDoor(t, 0)
	conn := connFrom("192.0.2.1")
	nonce, finish, err := d.SigV4(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	answer := saslAnswer(d.boot.AdminKeyID, d.boot.AdminSecret, "us-east-1", nonce, d.t)
	s, err := finish(t.Context(), answer)
	if err != nil {
		t.Fatal(err)
	}
	if s.(*keyspaces.Session) == nil {
		t.Error("there is no session")
	}
	_, err = finish(t.Context(), answer)
	if e := cql.AsError(err); err == nil || e.Code != cql.CodeBadCredentials {
		t.Errorf("the same nonce again: %v", err)
	}
	// The answer is worth nothing on another connection, whose nonce is another.
	nonce2, finish, err := d.SigV4(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	if nonce2 == nonce {
		t.Error("two connections have one nonce")
	}
	if _, err = finish(t.Context(), answer); err == nil {
		t.Error("an answer to another nonce is accepted")
	}
	// Nor does a wrong answer leave the nonce good.
	if _, err = finish(t.Context(), saslAnswer(d.boot.AdminKeyID, d.boot.AdminSecret, "us-east-1", nonce2, d.t)); err == nil {
		t.Error("a nonce serves after a wrong answer")
	}
}

func TestSASLRefusals(t *testing.T) {
	t.Parallel()
	d := newDoor(t, 0)
	for name, answer := range map[string]func(nonce string) []byte{
		"wrong secret":   func(n string) []byte { return saslAnswer(d.boot.AdminKeyID, "x", "us-east-1", n, d.t) },
		"unknown key":    func(n string) []byte { return saslAnswer("AKIAIOSFODNN7EXAMPLE", "x", "us-east-1", n, d.t) },
		"another region": func(n string) []byte { return saslAnswer(d.boot.AdminKeyID, d.boot.AdminSecret, "eu-west-1", n, d.t) },
		"too old": func(n string) []byte {
			return saslAnswer(d.boot.AdminKeyID, d.boot.AdminSecret, "us-east-1", n, d.t.Add(-apiSkew-time.Second))
		},
		"no answer": func(string) []byte { return nil },
		"with a token that is none": func(n string) []byte {
			return append(saslAnswer(d.boot.AdminKeyID, d.boot.AdminSecret, "us-east-1", n, d.t), ",session_token=AAAA"...)
		},
	} {
		nonce, finish, err := d.SigV4(t.Context(), connFrom("192.0.2.1"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = finish(t.Context(), answer(nonce))
		if e := cql.AsError(err); err == nil || e.Code != cql.CodeBadCredentials {
			t.Errorf("%s: %v", name, err)
		}
		var le *loginError
		if !errors.As(cql.AsError(err).Err, &le) {
			t.Errorf("%s: the error does not say whose login it was", name)
		} else if name == "wrong secret" && (le.claimed == nil || le.claimed.AccessKeyID != d.boot.AdminKeyID || le.claimed.Type != aws.Unknown) {
			t.Errorf("%s: claimed is %+v", name, le.claimed)
		}
	}
}

func TestCQLRegions(t *testing.T) {
	t.Parallel()
	d := newDoor(t, 0)
	for name, want := range map[string]string{
		"cassandra.eu-west-1.amazonaws.com": "eu-west-1", "CASSANDRA.EU-WEST-1.API.AWS": "eu-west-1",
		"localhost": "us-east-1", "": "us-east-1", "cassandra.xx-nowhere-1.amazonaws.com": "us-east-1", "cassandra.eu-west-1.example.com": "us-east-1",
	} {
		conn := connFrom("192.0.2.1")
		conn.TLS = &tls.ConnectionState{ServerName: name}
		if got := d.cqlRegion(conn); got != want {
			t.Errorf("%q is in %s, want %s", name, got, want)
		}
	}
	// A login by SigV4 is for the connection's region.
	conn := connFrom("192.0.2.1")
	conn.TLS = &tls.ConnectionState{ServerName: "cassandra.eu-west-1.amazonaws.com"}
	nonce, finish, err := d.SigV4(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := finish(context.Background(), saslAnswer(d.boot.AdminKeyID, d.boot.AdminSecret, "eu-west-1", nonce, d.t)); err != nil {
		t.Error(err)
	}
}

func TestTheSameBytesAreNotSignedForAnotherBody(t *testing.T) {
	t.Parallel()
	d := newDoor(t, 0)
	r := d.admin(t, "athena", "us-east-1", 0)
	_, err := d.Authenticate(r, []byte("{}"), "athena", false)
	wantCode(t, "another body", err, "InvalidSignatureException", "does not match")
	if !bytes.Contains([]byte(err.Error()), []byte("Check your AWS Secret Access Key")) {
		t.Errorf("the text is %v", err)
	}
}

// TestAccountsAreRecorded: a request to make an account that fails before it is
// a call leaves a record when its credential exists.
func TestAccountsAreRecorded(t *testing.T) {
	t.Parallel()
	d := newDoor(t, 0)
	store, err := kv.Open("journal", kv.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(store, d.log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(j.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	s := &Server{auth: d.authenticator, log: d.log, path: &call.Path{Auth: d.directory, Journal: j, Store: store, Now: d.now, Log: d.log}}
	_, err = s.makeAccount(d.signed(t, d.boot.AdminKeyID, "not the secret", accountsService, "us-east-1", 0))
	wantCode(t, "a wrong secret", err, "InvalidSignatureException", "")
	_, err = s.makeAccount(d.admin(t, accountsService, "us-east-1", 0))
	wantCode(t, "no body", err, "ValidationException", "")
	_, err = s.makeAccount(d.signed(t, "AKIAUNKNOWNUNKNOWNXX", "x", accountsService, "us-east-1", 0))
	wantCode(t, "an unknown key", err, "UnrecognizedClientException", "")
	var got []string
	err = j.Read(0, j.Head(), func(it journal.Item) (bool, error) {
		var e struct{ EventName, ErrorCode, RecipientAccountID string }
		if err := json.Unmarshal(it.JSON, &e); err != nil {
			return false, err
		}
		got = append(got, e.EventName+" "+e.ErrorCode+" "+e.RecipientAccountID)
		return true, nil
	})
	want := []string{"CreateAccount InvalidSignatureException 111122223333", "CreateAccount ValidationException 111122223333"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("recorded %q, want %q (%v)", got, want, err)
	}
}
