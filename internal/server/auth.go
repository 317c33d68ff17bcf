package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"spoor/internal/aws"
	"spoor/internal/awshttp"
	"spoor/internal/cql"
	cqlserver "spoor/internal/cql/server"
	"spoor/internal/iam"
	"spoor/internal/keyspaces"
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
	now       func() time.Time
	region    string // of CQL logins by password, which name none
	class     string // of AUTHENTICATE
}

var (
	_ awshttp.Authenticator   = (*authenticator)(nil)
	_ s3.Authenticator        = (*authenticator)(nil)
	_ cqlserver.Authenticator = (*authenticator)(nil)
)

// claimed is a caller whose credential was named and not proven.
func claimed(c *aws.Caller) *aws.Caller {
	if c == nil {
		return nil
	}
	return &aws.Caller{Type: aws.Unknown, AccountID: c.AccountID, AccessKeyID: c.AccessKeyID}
}

// verify runs the signature's check and keeps the caller that was looked up.
func (a *authenticator) verify(r *http.Request, o sigv4.Options) (*sigv4.Verified, *aws.Caller, error) {
	var caller *aws.Caller
	v, err := sigv4.Verify(r, func(key, token string) (string, error) {
		cred, err := a.directory.Credential(key, token)
		caller = cred.Caller
		return cred.Secret, err
	}, o)
	return v, caller, err
}

// Authenticate proves the caller of a JSON or query call.
func (a *authenticator) Authenticate(r *http.Request, body []byte, query bool) (*awshttp.Identity, error) {
	sum := sha256.Sum256(body)
	v, caller, err := a.verify(r, sigv4.Options{Now: a.now(), Skew: apiSkew, BodySHA256: hex.EncodeToString(sum[:])})
	if err == nil {
		a.directory.NoteUse(caller, v.Service, v.Region)
		return &awshttp.Identity{Caller: caller, Region: v.Region, Service: v.Service}, nil
	}
	var se *sigv4.Error
	if errors.As(err, &se) {
		err = se.API(query)
	} else if !query {
		err = jsonCode(err)
	}
	_, _, region, _, _ := sigv4.Claim(r)
	return nil, &awshttp.AuthError{Claimed: claimed(caller), Region: region, Err: err}
}

// jsonCode gives the codes of a credential that is not accepted the names that
// the JSON protocols have for them.
func jsonCode(err error) error {
	e := aws.AsError(err)
	code := map[string]string{"InvalidClientTokenId": "UnrecognizedClientException", "ExpiredToken": "ExpiredTokenException"}[e.Code]
	if code == "" {
		return err
	}
	out := *e
	out.Code, out.Status = code, http.StatusBadRequest
	return &out
}

// AuthenticateS3 proves the caller of an S3 call; an unsigned one is
// anonymous.
func (a *authenticator) AuthenticateS3(r *http.Request) (*s3.Identity, error) {
	if !sigv4.Signed(r) {
		return &s3.Identity{Caller: aws.AnonymousCaller(), Body: r.Body, Length: r.ContentLength}, nil
	}
	v, caller, err := a.verify(r, sigv4.Options{Now: a.now(), Skew: s3Skew, S3: true})
	if err != nil {
		var se *sigv4.Error
		if errors.As(err, &se) {
			err = se.S3()
		} else {
			err = s3Code(err)
		}
		_, _, region, _, _ := sigv4.Claim(r)
		return nil, &awshttp.AuthError{Claimed: claimed(caller), Region: region, Err: err}
	}
	a.directory.NoteUse(caller, v.Service, v.Region)
	body, err := v.Body(r)
	if err != nil {
		var se *sigv4.Error
		if errors.As(err, &se) {
			err = se.S3()
		}
		return nil, err
	}
	id := &s3.Identity{Caller: caller, Region: v.Region, Body: s3Body{body}, Length: r.ContentLength, Method: "AuthHeader"}
	if v.Presigned {
		id.Method = "QueryString"
	}
	if v.Streaming() {
		id.Length = v.DecodedLength(r)
	}
	return id, nil
}

// s3Code gives the codes of a credential that is not accepted S3's names.
func s3Code(err error) error {
	e := aws.AsError(err)
	out := *e
	out.Status = http.StatusForbidden
	switch e.Code {
	case "InvalidClientTokenId":
		out.Code, out.Message = "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."
	case "ExpiredToken":
		out.Message, out.Status = "The provided token has expired.", http.StatusBadRequest
	default:
		return err
	}
	return &out
}

// s3Body turns what a signature's reader finds into S3's errors.
type s3Body struct {
	r interface{ Read([]byte) (int, error) }
}

func (b s3Body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	var se *sigv4.Error
	if errors.As(err, &se) {
		err = se.S3()
	}
	return n, err
}

// Class is the authenticator class that CQL clients are told.
func (a *authenticator) Class() string { return a.class }

// cqlRegion is the region of a CQL connection: that of the name the client
// asked TLS for, cassandra.<region>.amazonaws.com, else the default.
func (a *authenticator) cqlRegion(conn *cqlserver.ConnInfo) string {
	if conn.TLS != nil {
		if region, ok := keyspacesRegion(conn.TLS.ServerName); ok {
			return region
		}
	}
	return a.region
}

// Plain checks a service-specific credential.
func (a *authenticator) Plain(_ context.Context, conn *cqlserver.ConnInfo, user, password string) (cqlserver.Session, error) {
	caller, err := a.directory.Login(user, password)
	if err != nil {
		return nil, cql.BadCredentials(user)
	}
	a.directory.NoteUse(caller, "cassandra", a.cqlRegion(conn))
	return keyspaces.NewSession(caller, nil, caller.AccountID, a.cqlRegion(conn)), nil
}

// SigV4 begins an exchange: the nonce is of this connection and good for one
// answer.
func (a *authenticator) SigV4(_ context.Context, conn *cqlserver.ConnInfo) (string, func(context.Context, []byte) (cqlserver.Session, error), error) {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // does not fail (Go 1.24)
	nonce := hex.EncodeToString(raw[:])
	return nonce, func(_ context.Context, response []byte) (cqlserver.Session, error) {
		s, err := sigv4.ParseSASL(response)
		if err != nil {
			return nil, cql.BadCredentials("")
		}
		cred, err := a.directory.Credential(s.AccessKeyID, s.SessionToken)
		if err != nil {
			return nil, cql.BadCredentials(s.AccessKeyID)
		}
		region := a.cqlRegion(conn)
		if err := s.Verify(nonce, cred.Secret, region, a.now(), apiSkew); err != nil {
			return nil, cql.BadCredentials(s.AccessKeyID)
		}
		a.directory.NoteUse(cred.Caller, "cassandra", region)
		return keyspaces.NewSession(cred.Caller, nil, cred.Caller.AccountID, region), nil
	}, nil
}
