package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"

	"github.com/aws/smithy-go"
)

// explained says in our words what a call to AWS's APIs met and what to change;
// the error itself is beneath.
type explained struct {
	text string
	err  error
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.err }

// explain gives an error of the AWS SDK words of our own; where it knows none, the
// error itself. bucket is the one that is read.
func explain(err error, bucket string) error {
	var api smithy.APIError
	var dns *net.DNSError
	var address *net.OpError
	var request *url.Error
	text := ""
	switch {
	case isWithoutCredentials(err):
		text = "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (spoor env prints those of a server)"
	case errors.As(err, &api):
		text = explainCode(api.ErrorCode(), bucket)
		if text == "" && api.ErrorMessage() != "" {
			text = api.ErrorCode() + ": " + api.ErrorMessage()
		}
	case errors.As(err, &dns):
		text = fmt.Sprintf("the host %s is not known; look at AWS_ENDPOINT_URL", dns.Name)
	case errors.As(err, &address) && address.Addr != nil:
		text = fmt.Sprintf("%s cannot be reached; is the server running, and is AWS_ENDPOINT_URL its address (spoor env prints it)?", address.Addr)
	case errors.As(err, &request):
		text = fmt.Sprintf("%s cannot be reached; look at AWS_ENDPOINT_URL and, for https, at AWS_CA_BUNDLE", hostOf(request.URL))
	}
	if text == "" {
		return err
	}
	return &explained{text, err}
}

func explainCode(code, bucket string) string {
	switch code {
	case "NoSuchBucket":
		return fmt.Sprintf("there is no bucket %s there; look at --bucket and AWS_ENDPOINT_URL", bucket)
	case "AccessDenied", "AccessDeniedException", "Forbidden":
		return fmt.Sprintf("the credentials may not do it; verifying takes cloudtrail:GetTrail, GetTrailStatus, "+
			"DescribeTrails and ListPublicKeys, and s3:ListBucket and s3:GetObject on %s", bucket)
	case "InvalidAccessKeyId", "UnrecognizedClientException", "InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidSignatureException",
		"ExpiredToken", "ExpiredTokenException", "InvalidToken", "AuthFailure":
		return fmt.Sprintf("the credentials are not taken (%s); look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN", code)
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		return fmt.Sprintf("bucket %s is of another region; set AWS_REGION to it", bucket)
	}
	return ""
}

func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return raw
	}
	return u.Host
}

// isWithoutCredentials reports whether the SDK's chain found none: it signs
// nothing then, and its last place to look is the address of an instance.
func isWithoutCredentials(err error) bool {
	var canceled *smithy.CanceledError
	var op *smithy.OperationError
	return !errors.As(err, &canceled) && errors.As(err, &op) && op.Service() == "ec2imds"
}
