// Package s3 is the S3 front: it decodes S3's own protocol, has the caller
// authenticated, enforces IAM and bucket policies, has the call recorded, and
// forwards it to the storage behind, the embedded gateway or any S3. Buckets'
// configuration (owner, policy, tags) is kept here, objects there.
//
// In a call's path it is what awshttp is for the other services: decode and
// encode around call.Path. Bucket calls are management events, object calls
// data events, as in CloudTrail.
package s3

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"spoor/internal/aws"
	"spoor/internal/awshttp"
	"spoor/internal/call"
	"spoor/internal/objects"
	"spoor/internal/record"
)

// Identity is an authenticated caller.
type Identity struct {
	Caller *aws.Caller
	Region string // "" for an anonymous caller
	// Body is the request's body, decoded and verified as it is read; Length
	// its length, -1 when unknown.
	Body   io.Reader
	Length int64
	// Method is CloudTrail's AuthenticationMethod: AuthHeader or QueryString.
	Method string
	// Signed is when the signature says it was made; zero without one.
	Signed time.Time
}

// Authenticator proves who sent a request by S3's rules. An unsigned request
// is the anonymous caller's. Errors are *awshttp.AuthError or *aws.Error.
type Authenticator interface {
	AuthenticateS3(r *http.Request) (*Identity, error)
}

// Config is what a Front needs.
type Config struct {
	Path     *call.Path
	Auth     Authenticator
	Registry *Registry
	Store    *objects.Store
	Region   string // of requests that name none
	Account  string // to which records of anonymous calls without a bucket go
	Log      *slog.Logger
}

// Front is the HTTP handler of S3.
type Front struct {
	Config
}

// New makes a Front.
func New(c Config) *Front { return &Front{Config: c} }

func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := &step{front: f, req: r, resource: r.URL.Path, hostID: hostID()}
	c := awshttp.NewCall(r, f.Path.Now(), f.Region)
	s.c, s.requestID = c, c.RequestID
	w.Header().Set("x-amz-request-id", c.RequestID)
	w.Header().Set("x-amz-id-2", s.hostID)
	w.Header().Set("Server", "AmazonS3")
	if err := f.serve(w, r, c, s); err != nil {
		if e := aws.AsError(err); e.Kind == aws.Internal || e.Kind == aws.Unavailable {
			f.Log.Error("an S3 call failed inside the server", "request_id", c.RequestID, "err", err)
		}
		writeError(w, s, err)
	}
	s.close()
}

func hostID() string {
	b := make([]byte, 48)
	_, _ = rand.Read(b) // does not fail (Go 1.24)
	return base64.StdEncoding.EncodeToString(b)
}

func (f *Front) serve(w http.ResponseWriter, r *http.Request, c *call.Call, s *step) error {
	var err error
	if s.target, err = parseTarget(r); err != nil {
		return err
	}
	if s.target.op == nil {
		return failure(http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed against this resource.")
	}
	s.bucket, _ = f.Registry.Bucket(s.target.bucket)
	id, err := f.Auth.AuthenticateS3(r)
	if err != nil {
		return f.reject(c, s, err)
	}
	s.id = id
	if id.Method == "QueryString" {
		if err := s.hoisted(); err != nil {
			return err
		}
	}
	c.Caller, c.AccountID = id.Caller, id.Caller.AccountID
	if id.Region != "" {
		c.Region = id.Region
	}
	if s.bucket != nil {
		c.Region = s.bucket.Region
		if id.Caller.Type == aws.Anonymous {
			c.AccountID = s.bucket.Account
		}
	} else if id.Caller.Type == aws.Anonymous {
		c.AccountID = f.Account
	}
	if err := f.Path.Run(r.Context(), c, s); err != nil {
		return err
	}
	s.answer(w)
	return nil
}

// hoisted puts the parameters of a presigned URL that stand for headers where
// headers are: signers move x-amz-… headers into the query, and S3 reads them
// there (AWS general reference, "Authenticating requests: query parameters").
func (s *step) hoisted() error {
	for k, v := range s.target.query {
		switch l := strings.ToLower(k); l {
		case "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires", "x-amz-signedheaders", "x-amz-signature", "x-amz-security-token", "x-amz-content-sha256":
		default:
			if strings.HasPrefix(l, "x-amz-") && s.req.Header.Get(l) == "" {
				s.req.Header.Set(l, v[0])
			}
		}
	}
	var err error
	s.target, err = parseTarget(s.req)
	if err == nil && s.target.op == nil {
		err = failure(http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed against this resource.")
	}
	return err
}

// reject records a failed authentication whose credential exists.
func (f *Front) reject(c *call.Call, s *step, err error) error {
	var ae *awshttp.AuthError
	if !errors.As(err, &ae) || ae.Claimed == nil {
		return err
	}
	c.Caller, c.AccountID = ae.Claimed, ae.Claimed.AccountID
	if ae.Region != "" {
		c.Region = ae.Region
	}
	if s.target.op.object && !f.Path.AlwaysData && !f.Path.Selector.AnyData() {
		return err
	}
	return f.Path.Reject(c, err, func(r *record.Record) {
		r.Category = s.Category(0)
		s.Describe(c, 0, err, r)
	})
}
