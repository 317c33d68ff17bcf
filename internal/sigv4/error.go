package sigv4

import (
	"fmt"
	"net/http"
	"strings"
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
	// TwoMechanisms is a request with an Authorization header and a presigned
	// query.
	TwoMechanisms
	WrongDate
	WrongRegion
	WrongService
	BadURI
	// UnknownKey, ExpiredToken and InvalidToken are for a Lookup to answer with.
	UnknownKey
	ExpiredToken
	InvalidToken
	MissingLength
	ChunkTooSmall
	TrailerMalformed
	TrailerUnsupported
)

// Error is a signature that was not accepted. It never holds a secret or the
// signature that would have been right.
type Error struct {
	Reason Reason
	Detail string

	given     string // the scope's region or service
	when, now time.Time
	skew      time.Duration
}

func fail(r Reason, detail string) *Error { return &Error{Reason: r, Detail: detail} }

// Refuse is the error of a Lookup that knows why a key is not accepted:
// UnknownKey, ExpiredToken or InvalidToken.
func Refuse(r Reason) *Error { return fail(r, "") }

func (e *Error) Error() string {
	s3 := e.S3()
	return "sigv4: " + s3.Code + ": " + s3.Message
}

const mismatch = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."

// API is the error as AWS's JSON and query services send it. The query
// protocol's codes lack the suffix Exception and differ in some names; query
// selects them (IAM and STS API references, "Common Errors").
func (e *Error) API(query bool) *aws.Error {
	code, msg := "InvalidSignature", mismatch
	switch e.Reason {
	case Missing:
		code, msg = "MissingAuthenticationToken", "Missing Authentication Token"
		if query {
			msg = "Request is missing Authentication Token"
		}
	case Malformed, MalformedQuery, Unsupported:
		code, msg = "IncompleteSignature", e.Detail
	case TwoMechanisms:
		code, msg = "IncompleteSignature", oneMechanism
	case HeadersNotSigned:
		first, _, _ := strings.Cut(e.Detail, ", ")
		code, msg = "IncompleteSignature", fmt.Sprintf("'%s' must be a 'SignedHeader' in the AWS Authorization.", http.CanonicalHeaderKey(first))
	case WrongDate:
		msg = "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: expected '" + e.Detail + "'."
	case WrongRegion:
		msg = fmt.Sprintf("Credential should be scoped to a valid region, not '%s'. ", e.given)
	case WrongService:
		msg = fmt.Sprintf("Credential should be scoped to correct service: '%s'. ", e.Detail)
	case Skewed, Expired, NotYetValid:
		msg = e.clock()
	case UnknownKey, InvalidToken:
		code, msg = "UnrecognizedClient", "The security token included in the request is invalid."
		if query {
			code = "InvalidClientTokenId"
		}
	case ExpiredToken:
		code, msg = "ExpiredToken", "The security token included in the request is expired"
	}
	switch {
	case !query:
		code += "Exception"
	case code == "InvalidSignature":
		code = "SignatureDoesNotMatch"
	}
	return &aws.Error{Op: "sigv4.Verify", Kind: aws.Unauthenticated, Code: code, Message: msg, Err: e}
}

// clock says how the signature's time misses the present.
func (e *Error) clock() string {
	now := e.now.UTC()
	if e.when.After(now) {
		return fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + %d min.)", e.when.Format(timeLayout),
			now.Add(e.skew).Format(timeLayout), now.Format(timeLayout), int(e.skew.Minutes()))
	}
	return fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - %d min.)", e.when.Format(timeLayout),
		now.Add(-e.skew).Format(timeLayout), now.Format(timeLayout), int(e.skew.Minutes()))
}

const oneMechanism = "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified"

// answer is one of S3's errors.
type answer struct {
	status        int
	code, message string
}

// s3Answers are S3's errors for the reasons whose text is fixed (S3 API
// reference, "Error responses").
var s3Answers = map[Reason]answer{
	Missing:            {http.StatusForbidden, "AccessDenied", "Access Denied"},
	Unsupported:        {http.StatusBadRequest, "InvalidRequest", "The authorization mechanism you have provided is not supported. Please use " + Algorithm + "."},
	TwoMechanisms:      {http.StatusBadRequest, "InvalidArgument", oneMechanism},
	Mismatch:           {http.StatusForbidden, "SignatureDoesNotMatch", s3Mismatch},
	ChunkMismatch:      {http.StatusForbidden, "SignatureDoesNotMatch", s3Mismatch},
	Skewed:             {http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."},
	Expired:            {http.StatusForbidden, "AccessDenied", "Request has expired"},
	NotYetValid:        {http.StatusForbidden, "AccessDenied", "Request is not yet valid"},
	HeadersNotSigned:   {http.StatusForbidden, "AccessDenied", "There were headers present in the request which were not signed"},
	MissingPayloadHash: {http.StatusBadRequest, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256"},
	BadPayloadHash:     {http.StatusBadRequest, "InvalidArgument", "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value."},
	PayloadMismatch:    {http.StatusBadRequest, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed."},
	ChunkMalformed:     {http.StatusBadRequest, "IncompleteBody", incompleteBody},
	LengthMismatch:     {http.StatusBadRequest, "IncompleteBody", incompleteBody},
	MissingLength:      {http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header."},
	ChunkTooSmall:      {http.StatusForbidden, "InvalidChunkSizeError", "Only the last chunk is allowed to have a size less than 8192 bytes"},
	TrailerMalformed:   {http.StatusBadRequest, "MalformedTrailerError", "The request contained trailing data that was not well-formed or did not conform to our published schema."},
	TrailerUnsupported: {http.StatusBadRequest, "InvalidRequest", "The value specified in the x-amz-trailer header is not supported"},
	BadURI:             {http.StatusBadRequest, "InvalidURI", "Couldn't parse the specified URI."},
	UnknownKey:         {http.StatusForbidden, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."},
	ExpiredToken:       {http.StatusBadRequest, "ExpiredToken", "The provided token has expired."},
	InvalidToken:       {http.StatusBadRequest, "InvalidToken", "The provided token is malformed or otherwise invalid."},
}

const (
	s3Mismatch     = "The request signature we calculated does not match the signature you provided. Check your key and signing method."
	incompleteBody = "The request body terminated unexpectedly"
)

// S3 is the error as S3 sends it.
func (e *Error) S3() *aws.Error {
	a, ok := s3Answers[e.Reason]
	if !ok {
		a = answer{http.StatusBadRequest, "AuthorizationHeaderMalformed", "The authorization header is malformed; "}
		switch e.Reason {
		case MalformedQuery:
			a.code, a.message = "AuthorizationQueryParametersError", e.Detail
		case ChecksumMismatch:
			a.code, a.message = "BadDigest", "The "+e.Detail+" you specified did not match the calculated checksum."
		case WrongDate:
			a.message += "Invalid credential date. This date is not the same as X-Amz-Date: \"" + e.Detail + "\"."
		case WrongRegion:
			a.message += "the region '" + e.given + "' is wrong; expecting '" + e.Detail + "'"
		case WrongService:
			a.message += "incorrect service \"" + e.given + "\". This endpoint belongs to \"" + e.Detail + "\"."
		default:
			a.message += e.Detail
		}
	}
	return &aws.Error{Op: "sigv4.Verify", Kind: aws.Denied, Status: a.status, Code: a.code, Message: a.message, Err: e}
}
