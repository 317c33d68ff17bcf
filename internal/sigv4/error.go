package sigv4

import (
	"fmt"
	"net/http"
	"time"

	"spoor/internal/aws"
)

// Reason is why a signature was not accepted.
type Reason uint8

const (
	Missing Reason = iota
	Malformed
	MalformedQuery
	Unsupported
	Mismatch
	Skewed
	Expired
	NotYetValid
	HeadersNotSigned
	MissingPayloadHash
	BadPayloadHash
	PayloadMismatch
	ChunkMalformed
	ChunkMismatch
	LengthMismatch
	ChecksumMismatch
)

// Error is a signature that was not accepted. It never holds a secret or the
// signature that would have been right.
type Error struct {
	Reason Reason
	Detail string

	when, now time.Time
	skew      time.Duration
}

func fail(r Reason, detail string) *Error { return &Error{Reason: r, Detail: detail} }

func (e *Error) Error() string { return "sigv4: " + e.S3().Code + ": " + e.S3().Message }

const mismatch = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."

// API is the error as AWS's JSON and query services send it. The query
// protocol's codes lack the suffix Exception; query selects them.
func (e *Error) API(query bool) *aws.Error {
	code, msg := "InvalidSignature", mismatch
	switch e.Reason {
	case Missing:
		code, msg = "MissingAuthenticationToken", "Missing Authentication Token"
	case Malformed, MalformedQuery, Unsupported, HeadersNotSigned:
		code, msg = "IncompleteSignature", e.Detail
		if e.Reason == HeadersNotSigned {
			msg = fmt.Sprintf("'%s' must be a 'SignedHeader' in the AWS Authorization.", title(e.Detail))
		}
	case Skewed:
		side := fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - %d min.)", e.when.Format(timeLayout),
			e.now.Add(-e.skew).UTC().Format(timeLayout), e.now.UTC().Format(timeLayout), int(e.skew.Minutes()))
		if e.when.After(e.now) {
			side = fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + %d min.)", e.when.Format(timeLayout),
				e.now.Add(e.skew).UTC().Format(timeLayout), e.now.UTC().Format(timeLayout), int(e.skew.Minutes()))
		}
		msg = side
		if query {
			code = "SignatureDoesNotMatch"
		}
	case Expired, NotYetValid:
		msg = "Signature expired"
	case Mismatch:
		if query {
			code = "SignatureDoesNotMatch"
		}
	}
	if !query {
		code += "Exception"
	}
	return &aws.Error{Op: "sigv4.Verify", Kind: aws.Unauthenticated, Code: code, Message: msg, Err: e}
}

func title(h string) string {
	if h == "host" {
		return "Host"
	}
	return h
}

// S3 is the error as S3 sends it (S3 API reference, "Error responses").
func (e *Error) S3() *aws.Error {
	out := &aws.Error{Op: "sigv4.Verify", Kind: aws.Denied, Status: http.StatusForbidden, Err: e}
	switch e.Reason {
	case Missing:
		out.Code, out.Message = "AccessDenied", "Access Denied"
	case Malformed:
		out.Code, out.Message, out.Status = "AuthorizationHeaderMalformed", "The authorization header is malformed; "+e.Detail, http.StatusBadRequest
	case MalformedQuery:
		out.Code, out.Message, out.Status = "AuthorizationQueryParametersError", e.Detail, http.StatusBadRequest
	case Unsupported:
		out.Code, out.Message, out.Status = "InvalidRequest", "The authorization mechanism you have provided is not supported. Please use "+Algorithm+".", http.StatusBadRequest
	case Skewed:
		out.Code, out.Message = "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."
	case Expired:
		out.Code, out.Message = "AccessDenied", "Request has expired"
	case NotYetValid:
		out.Code, out.Message = "AccessDenied", "Request is not yet valid"
	case HeadersNotSigned:
		out.Code, out.Message = "AccessDenied", "There were headers present in the request which were not signed"
	case MissingPayloadHash:
		out.Code, out.Message, out.Status = "InvalidRequest", "Missing required header for this request: x-amz-content-sha256", http.StatusBadRequest
	case BadPayloadHash:
		out.Code, out.Message, out.Status = "InvalidArgument", "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.", http.StatusBadRequest
	case PayloadMismatch:
		out.Code, out.Message, out.Status = "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.", http.StatusBadRequest
	case ChunkMalformed, LengthMismatch:
		out.Code, out.Message, out.Status = "IncompleteBody", "The request body terminated unexpectedly", http.StatusBadRequest
	case ChecksumMismatch:
		out.Code, out.Message, out.Status = "BadDigest", "The "+e.Detail+" you specified did not match what we received.", http.StatusBadRequest
	default:
		out.Code, out.Message = "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your key and signing method."
	}
	return out
}
