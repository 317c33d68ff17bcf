package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"spoor/test/harness"
)

// httpCaller sends one signed request again and again on a connection of its
// own. A signature is good for minutes, so the load spends nothing on signing.
func httpCaller(ctx context.Context, srv *harness.Server) func(i int) (func() error, error) {
	return func(int) (func() error, error) {
		body := []byte(`{"WorkGroup":"primary"}`)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.HTTP+"/", bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/x-amz-json-1.1")
		req.Header.Set("X-Amz-Target", "AmazonAthena.GetWorkGroup")
		p := srv.Profiles["admin"]
		sum := sha256.Sum256(body)
		if err := v4.NewSigner().SignHTTP(ctx, aws.Credentials{AccessKeyID: p.AccessKeyID, SecretAccessKey: p.SecretAccessKey}, req,
			hex.EncodeToString(sum[:]), "athena", srv.Region, time.Now()); err != nil {
			return nil, err
		}
		var raw bytes.Buffer
		if err := req.Write(&raw); err != nil {
			return nil, err
		}
		c, err := net.Dial("tcp", strings.TrimPrefix(srv.HTTP, "http://"))
		if err != nil {
			return nil, err
		}
		r := bufio.NewReader(c)
		return func() error {
			if _, err := c.Write(raw.Bytes()); err != nil {
				return err
			}
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				return err
			}
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			if err == nil && res.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s: %s", res.Status, b)
			}
			return err
		}, nil
	}
}
