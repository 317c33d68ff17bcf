package s3

import (
	"encoding/xml"
	"net/http"
	"strconv"
	"strings"

	"spoor/internal/aws"
	"spoor/internal/awshttp"
)

// failure is an error of S3's own table ("Error responses" in the S3 API
// reference).
func failure(status int, code, message string) *aws.Error {
	kind := aws.Invalid
	switch {
	case status == http.StatusForbidden:
		kind = aws.Denied
	case status == http.StatusNotFound:
		kind = aws.NotFound
	case status == http.StatusConflict:
		kind = aws.Conflict
	case status == http.StatusNotImplemented:
		kind = aws.Unsupported
	case status >= 500:
		kind = aws.Internal
	}
	return &aws.Error{Op: "s3", Kind: kind, Code: code, Message: message, Status: status}
}

const malformedXML = "The XML you provided was not well-formed or did not validate against our published schema"

func noSuchBucket(name string) *aws.Error {
	e := failure(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
	e.Fields = map[string]any{"BucketName": name}
	return e
}

// originError is the body of an error of the storage behind.
type originError struct {
	XMLName xml.Name `xml:"Error"`
	Code    string
	Message string
}

// headCodes are the codes of answers that have no body.
var headCodes = map[int]string{
	http.StatusNotFound: "NoSuchKey", http.StatusForbidden: "AccessDenied", http.StatusPreconditionFailed: "PreconditionFailed",
	http.StatusBadRequest: "BadRequest", http.StatusRequestedRangeNotSatisfiable: "InvalidRange", http.StatusMethodNotAllowed: "MethodNotAllowed",
}

func writeError(w http.ResponseWriter, s *step, err error) {
	e := aws.AsError(err)
	status := e.Status
	if status == 0 {
		switch e.Kind {
		case aws.Denied, aws.Unauthenticated:
			status = http.StatusForbidden
		case aws.NotFound:
			status = http.StatusNotFound
		case aws.Conflict:
			status = http.StatusConflict
		case aws.Internal:
			status = http.StatusInternalServerError
		case aws.Unavailable, aws.Throttled:
			status = http.StatusServiceUnavailable
		case aws.Unsupported:
			status = http.StatusNotImplemented
		default:
			status = http.StatusBadRequest
		}
	}
	if e.Encoded != "" {
		w.Header().Set(awshttp.EncodedDenialHeader, e.Encoded)
	}
	code, message := e.Code, e.Message
	if code == "AccessDenied" || code == "AccessDeniedException" {
		code = "AccessDenied"
	}
	if code == "InternalFailure" {
		code, message = "InternalError", "We encountered an internal error. Please try again."
	}
	h := w.Header()
	if s.head() {
		h.Set("Content-Length", "0")
		w.WriteHeader(status)
		return
	}
	var b strings.Builder
	b.WriteString(xml.Header + "<Error>")
	element(&b, "Code", code)
	element(&b, "Message", message)
	if s.target.bucket != "" {
		element(&b, "BucketName", s.target.bucket)
	}
	if s.target.key != "" {
		element(&b, "Key", s.target.key)
	}
	element(&b, "Resource", s.resource)
	element(&b, "RequestId", s.requestID)
	element(&b, "HostId", s.hostID)
	b.WriteString("</Error>")
	h.Set("Content-Type", "application/xml")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	// A client that is gone does not read its answer; the record is on disk.
	_, _ = w.Write([]byte(b.String()))
}

func element(b *strings.Builder, name, text string) {
	b.WriteString("<" + name + ">")
	// EscapeText fails only when its writer does, and a strings.Builder never.
	_ = xml.EscapeText(b, []byte(text))
	b.WriteString("</" + name + ">")
}
