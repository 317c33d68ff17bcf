package verify

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestS3Checksum: an object that its storage's checksum does not fit is read all
// the same, by a client that checks such by default: what is wrong with it is
// for the digests to say.
func TestS3Checksum(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Amz-Checksum-Mode") != "" {
			w.Header().Set("X-Amz-Checksum-Crc32", "AAAAAA==")
		}
		if _, err := io.WriteString(w, "changed"); err != nil {
			t.Error(err)
		}
	}))
	defer srv.Close()
	conf, err := config.LoadDefaultConfig(t.Context(), config.WithRegion("us-east-1"),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("AKIA", "secret", "")))
	if err != nil {
		t.Fatal(err)
	}
	client := s3.NewFromConfig(conf, func(o *s3.Options) { o.BaseEndpoint, o.UsePathStyle = aws.String(srv.URL), true })
	body, _, err := NewS3(client).Get(t.Context(), "b", "k")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(body)
	if err != nil || string(got) != "changed" {
		t.Errorf("%q, %v", got, err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
}
