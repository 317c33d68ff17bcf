package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

// TestExplain: what a real client's call meets is said in our words, with what
// to change, and the error itself stays beneath.
func TestExplain(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, endpoint string
		status         int
		code           string
		want           string
	}{
		{name: "no bucket", status: 404, code: "NoSuchBucket", want: "there is no bucket my-trail there; look at --bucket and AWS_ENDPOINT_URL"},
		{name: "refused", status: 403, code: "AccessDenied", want: "s3:GetObject on my-trail"},
		{name: "unknown key", status: 403, code: "InvalidAccessKeyId", want: "the credentials are not taken (InvalidAccessKeyId); look at AWS_ACCESS_KEY_ID"},
		{name: "wrong secret", status: 403, code: "SignatureDoesNotMatch", want: "AWS_SECRET_ACCESS_KEY"},
		{name: "region", status: 301, code: "PermanentRedirect", want: "bucket my-trail is of another region; set AWS_REGION"},
		{name: "another code", status: 400, code: "Odd", want: "Odd: said by the server"},
		{name: "nobody listens", endpoint: nobody, want: strings.TrimPrefix(nobody, "http://") + " cannot be reached; is the server running"},
		{name: "no such host", endpoint: "http://nowhere.invalid", want: "the host nowhere.invalid is not known; look at AWS_ENDPOINT_URL"},
		{name: "another certificate", endpoint: "tls", want: "AWS_CA_BUNDLE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/xml")
				w.WriteHeader(tt.status)
				fmt.Fprintf(w, "<Error><Code>%s</Code><Message>said by the server</Message></Error>", tt.code)
			})
			endpoint := tt.endpoint
			switch endpoint {
			case "":
				srv := httptest.NewServer(answer)
				t.Cleanup(srv.Close)
				endpoint = srv.URL
			case "tls":
				srv := httptest.NewTLSServer(answer)
				t.Cleanup(srv.Close)
				endpoint = srv.URL
			}
			client := s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: &endpoint, UsePathStyle: true, RetryMaxAttempts: 1,
				Credentials: credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "secret", "")})
			_, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("my-trail")})
			got := explain(fmt.Errorf("listing: %w", err), "my-trail")
			if !strings.Contains(got.Error(), tt.want) || strings.Contains(got.Error(), "operation error") || !errors.Is(got, err) {
				t.Errorf("%v, want %q", got, tt.want)
			}
		})
	}
}

// TestExplainWithoutCredentials: the chain's last place to look is no address
// that an operator has named.
func TestExplainWithoutCredentials(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("get credentials: %w", &smithy.OperationError{ServiceID: "ec2imds", OperationName: "GetMetadata",
		Err: &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(169, 254, 169, 254), Port: 80}, Err: errors.New("refused")}})
	if got := explain(err, "b").Error(); !strings.HasPrefix(got, "there are no credentials") {
		t.Error(got)
	}
	for _, err := range []error{context.Canceled, errors.New("a file is not there")} {
		if got := explain(err, "b"); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
}
