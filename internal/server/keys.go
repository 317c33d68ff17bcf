package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"spoor/internal/aws"
	"spoor/internal/awshttp"
	"spoor/internal/call"
	"spoor/internal/record"
)

// Kinds of keys that can be rotated.
const (
	CheckpointKind = "checkpoint" // an account's, signs checkpoints
	DigestKind     = "digest"     // a region's, signs digests
)

// KeyRotation is the body of a request to rotate a key and of its answer, which
// has the new key: the public key of checkpoints, or the fingerprint of that of
// digests.
type KeyRotation struct {
	Kind   string `json:"kind"`
	Region string `json:"region,omitempty"`
	Key    string `json:"key,omitempty"`
}

// maxKeyRequest bounds the request's body, in bytes.
const maxKeyRequest = 1 << 10

// rotateStep is the call that rotates a key. CloudTrail has no such operation;
// its events and permissions are named as if it had.
type rotateStep struct {
	server *Server
	in     KeyRotation
	key    string
}

var _ call.Step = (*rotateStep)(nil)

func (k *rotateStep) name() string {
	if k.in.Kind == DigestKind {
		return "RotateDigestKey"
	}
	return "RotateCheckpointKey"
}

func (k *rotateStep) Permissions(c *call.Call, dst []call.Permission) ([]call.Permission, error) {
	switch {
	case k.in.Kind != CheckpointKind && k.in.Kind != DigestKind:
		return dst, aws.NewError(aws.Invalid, "InvalidParameterException", "Name a kind of key: checkpoint or digest.")
	case k.in.Kind == DigestKind && !aws.IsRegion(k.in.Region):
		return dst, aws.NewError(aws.Invalid, "InvalidParameterException", "A digest key is that of a region: name one such as us-east-1.")
	case k.in.Kind == DigestKind && c.AccountID != k.server.cfg.Account:
		return dst, aws.NewError(aws.Denied, "AccessDeniedException", "You don't have permissions to access this resource: a region's key is rotated by principals of account "+k.server.cfg.Account+".")
	}
	return append(dst, call.Permission{Action: "cloudtrail:" + k.name(), Resource: "*"}), nil
}

func (k *rotateStep) Handle(_ context.Context, c *call.Call) (err error) {
	if k.in.Kind == DigestKind {
		p, err := k.server.trails.RotateDigestKey(c, k.in.Region)
		k.key = p.Fingerprint
		return err
	}
	k.key, err = k.server.trails.RotateCheckpointKey(c)
	return err
}
func (k *rotateStep) Events() int                  { return 1 }
func (k *rotateStep) Category(int) record.Category { return record.Management }
func (k *rotateStep) External() bool               { return false }
func (k *rotateStep) Describe(_ *call.Call, _ int, err error, r *record.Record) {
	r.EventSource, r.EventName = "cloudtrail.amazonaws.com", k.name()
	if b, merr := json.Marshal(k.in); merr == nil { // texts always encode
		r.RequestParameters = append(r.RequestParameters[:0], b...)
	}
	if b, merr := json.Marshal(map[string]string{"key": k.key}); merr == nil && err == nil {
		r.ResponseElements = b // public, as /_spoor/checkpoint-key and ListPublicKeys have it
	}
}

// rotateKey answers a request to rotate a key.
func (s *Server) rotateKey(w http.ResponseWriter, r *http.Request) {
	out, err := s.rotate(r)
	body := any(out)
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		e := aws.AsError(err)
		if e.Kind == aws.Internal || e.Kind == aws.Unavailable {
			s.log.Error("rotating a key failed", "err", err)
		}
		w.WriteHeader(e.HTTPStatus())
		body = map[string]string{"__type": e.Code, "message": e.Message}
	}
	_ = json.NewEncoder(w).Encode(body) // a client that is gone needs no answer
}

func (s *Server) rotate(r *http.Request) (KeyRotation, error) {
	k := &rotateStep{server: s}
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxKeyRequest+1))
	if err != nil || len(raw) > maxKeyRequest {
		return k.in, aws.NewError(aws.Invalid, "InvalidParameterException", "The request's body cannot be read.")
	}
	c := awshttp.NewCall(r, s.path.Now(), s.cfg.Region)
	// As for every other call, a failure of a known credential is recorded.
	reject := func(caller *aws.Caller, err error) error {
		c.Caller, c.AccountID = caller, caller.AccountID
		return s.path.Reject(c, err, func(rec *record.Record) { k.Describe(c, 0, err, rec) })
	}
	id, err := s.auth.Authenticate(r, raw, "cloudtrail", false)
	var ae *awshttp.AuthError
	switch {
	case errors.As(err, &ae) && ae.Claimed != nil:
		return k.in, reject(ae.Claimed, err)
	case err != nil:
		return k.in, err
	}
	if err := json.Unmarshal(raw, &k.in); err != nil {
		return k.in, reject(id.Caller, aws.NewError(aws.Invalid, "InvalidParameterException", "The request's body is not JSON of a key to rotate."))
	}
	if k.in.Region == "" {
		k.in.Region = s.cfg.Region
	}
	k.in.Key = ""
	c.Caller, c.AccountID = id.Caller, id.Caller.AccountID
	err = s.path.Run(r.Context(), c, k)
	return KeyRotation{k.in.Kind, k.in.Region, k.key}, err
}
