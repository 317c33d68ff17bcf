package server

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"spoor/internal/aws"
	"spoor/internal/awshttp"
	cqlserver "spoor/internal/cql/server"
	"spoor/internal/guard"
	"spoor/internal/iam"
	"spoor/internal/s3"
	"spoor/internal/sigv4"
)

// Clock skews that AWS allows (AWS general reference, "Signature Version 4";
// S3 API reference, RequestTimeTooSkewed).
const (
	apiSkew = 5 * time.Minute
	s3Skew  = 15 * time.Minute
)

// authenticator proves callers for all three doors with one directory.
type authenticator struct {
	directory *iam.Directory
	guard     *guard.Guard
	now       func() time.Time
	region    string // of callers that name none; a region even where AWS has none of that name
	class     string // of AUTHENTICATE
	log       *slog.Logger
}

var (
	_ awshttp.Authenticator   = (*authenticator)(nil)
	_ s3.Authenticator        = (*authenticator)(nil)
	_ cqlserver.Authenticator = (*authenticator)(nil)
)

func (a *authenticator) validRegion(name string) bool { return name == a.region || aws.IsRegion(name) }

// claimed is a caller whose credential was named and not proven.
func claimed(c *aws.Caller) *aws.Caller {
	if c == nil {
		return nil
	}
	return &aws.Caller{Type: aws.Unknown, AccountID: c.AccountID, AccessKeyID: c.AccessKeyID}
}

// errThrottled refuses an address that failed too often. Its credential was not
// looked at, so the answer says nothing about it.
var errThrottled = errors.New("server: too many failed authentications from this address")

// verify runs the signature's check and keeps the caller that was looked up. A
// request that fails before the look-up, by its clock, names a caller as well.
func (a *authenticator) verify(r *http.Request, o sigv4.Options) (*sigv4.Verified, *aws.Caller, error) {
	key, _, _, _, _ := sigv4.Claim(r)
	from := remoteAddr(r)
	if a.guard.Admit(from, key) > 0 {
		return nil, nil, errThrottled
	}
	o.Now, o.ValidRegion = a.now(), a.validRegion
	var caller *aws.Caller
	v, err := sigv4.Verify(r, func(key, token string) (string, error) {
		cred, err := a.directory.Credential(key, token)
		caller = cred.Caller
		return cred.Secret, refusal(err, token)
	}, o)
	if err != nil {
		if guess(err) {
			a.failed(from, key)
		}
		if key, token, _, _, ok := sigv4.Claim(r); ok && caller == nil {
			if cred, cerr := a.directory.Credential(key, token); cerr == nil {
				caller = cred.Caller
			}
		}
		return nil, caller, err
	}
	a.guard.Succeeded(from, key)
	a.directory.NoteUse(caller, v.Service, v.Region)
	return v, caller, nil
}

// admitUnsigned refuses an address that failed too often where a call's input
// is its credential: web identity federation.
func (a *authenticator) admitUnsigned(r *http.Request) error {
	if a.guard.Admit(remoteAddr(r), "") == 0 {
		return nil
	}
	return throttled(true)
}

// guessed counts a web identity's token that nobody trusted has signed.
func (a *authenticator) guessed(sourceIP string) {
	from, err := netip.ParseAddr(sourceIP)
	if err != nil {
		from = netip.Addr{} // as remoteAddr has it
	}
	a.failed(from, "")
}

func throttled(query bool) error {
	code := "ThrottlingException"
	if query {
		code = "Throttling"
	}
	return &aws.Error{Op: "server.Authenticate", Kind: aws.Throttled, Status: http.StatusBadRequest, Code: code, Message: "Rate exceeded", Err: errThrottled}
}

// failed counts a failure and tells the operator when an address has used up
// what it may.
func (a *authenticator) failed(from netip.Addr, credential string) {
	if a.guard.Failed(from, credential) {
		a.log.Warn("an address failed to authenticate too often and is slowed down", "address", from.String())
	}
}

func remoteAddr(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{} // not a TCP listener: all its callers are one
	}
	return a.Addr()
}

// guess reports whether a failure may come from somebody trying secrets or
// keys, and not from a clock that is wrong or a session that is over.
func guess(err error) bool {
	var e *sigv4.Error
	return errors.As(err, &e) && (e.Reason == sigv4.Mismatch || e.Reason == sigv4.UnknownKey || e.Reason == sigv4.InvalidToken)
}

// refusal says in sigv4's terms why the directory has no such credential.
func refusal(err error, token string) error {
	switch {
	case err == nil:
		return nil
	case aws.AsError(err).Code == "ExpiredToken":
		return sigv4.Refuse(sigv4.ExpiredToken)
	case !aws.IsKind(err, aws.Unauthenticated):
		return err
	case token != "":
		return sigv4.Refuse(sigv4.InvalidToken)
	}
	return sigv4.Refuse(sigv4.UnknownKey)
}

// reject is the error of a failed authentication: answer puts what sigv4 found
// into the protocol's words.
func (a *authenticator) reject(r *http.Request, caller *aws.Caller, err error, answer func(*sigv4.Error) *aws.Error) error {
	var se *sigv4.Error
	if errors.As(err, &se) {
		err = answer(se)
	}
	_, _, region, _, _ := sigv4.Claim(r)
	if !a.validRegion(region) {
		region = ""
	}
	return &awshttp.AuthError{Claimed: claimed(caller), Region: region, Err: err}
}

// Authenticate proves the caller of a JSON or query call.
func (a *authenticator) Authenticate(r *http.Request, body []byte, service string, query bool) (*awshttp.Identity, error) {
	sum := sha256.Sum256(body)
	v, caller, err := a.verify(r, sigv4.Options{Skew: apiSkew, Service: service, BodySHA256: hex.EncodeToString(sum[:])})
	switch {
	case err == nil:
		return &awshttp.Identity{Caller: caller, Region: v.Region, Service: v.Service}, nil
	case errors.Is(err, errThrottled):
		return nil, throttled(query)
	}
	return nil, a.reject(r, caller, err, func(e *sigv4.Error) *aws.Error { return e.API(query) })
}

// AuthenticateS3 proves the caller of an S3 call; an unsigned one is
// anonymous. S3 takes a signature for any region, as buckets are named once for
// all of them.
func (a *authenticator) AuthenticateS3(r *http.Request) (*s3.Identity, error) {
	if !sigv4.Signed(r) {
		return &s3.Identity{Caller: aws.AnonymousCaller(), Body: r.Body, Length: r.ContentLength}, nil
	}
	v, caller, err := a.verify(r, sigv4.Options{Skew: s3Skew, Service: "s3", S3: true})
	if errors.Is(err, errThrottled) {
		return nil, &aws.Error{Op: "server.AuthenticateS3", Kind: aws.Throttled, Status: http.StatusServiceUnavailable, Code: "SlowDown",
			Message: "Please reduce your request rate.", Err: err}
	}
	if err != nil {
		return nil, a.reject(r, caller, err, (*sigv4.Error).S3)
	}
	body, err := v.Body(r)
	if err != nil {
		return nil, &awshttp.AuthError{Claimed: caller, Region: v.Region, Err: s3Words(err)}
	}
	id := &s3.Identity{Caller: caller, Region: v.Region, Body: s3Body{body}, Length: r.ContentLength, Method: "AuthHeader", Signed: v.Date}
	if v.Presigned {
		id.Method = "QueryString"
	}
	if v.Streaming() {
		id.Length = v.DecodedLength(r)
	}
	return id, nil
}

// s3Words turns what a signature's reader finds into S3's errors.
func s3Words(err error) error {
	var se *sigv4.Error
	if errors.As(err, &se) {
		return se.S3()
	}
	return err
}

type s3Body struct{ r io.Reader }

func (b s3Body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	return n, s3Words(err)
}

// keyspacesRegion is the region in a name of Keyspaces' endpoints, such as
// cassandra.eu-west-1.amazonaws.com.
func keyspacesRegion(name string) (string, bool) {
	rest, ok := strings.CutPrefix(strings.ToLower(name), "cassandra.")
	if !ok {
		return "", false
	}
	region, tail, _ := strings.Cut(rest, ".")
	return region, region != "" && (tail == "amazonaws.com" || tail == "api.aws")
}
