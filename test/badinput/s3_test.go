package badinput

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"spoor/test/harness"
)

// testS3 sends broken uploads, documents and signatures.
func (s *suite) testS3(t *testing.T) {
	c := s.AWS(s.admin).S3
	if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("bad-objects")}); err != nil {
		t.Fatal(err)
	}
	upload, err := c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String("bad-objects"), Key: aws.String("parts")})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("cases", func(t *testing.T) { s.runAPI(t, s.s3Cases(aws.ToString(upload.UploadId))) })
	// None of the broken uploads may have left an object.
	list, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("bad-objects")})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list.Contents {
		t.Errorf("there is an object %s of %d bytes", aws.ToString(o.Key), aws.ToInt64(o.Size))
	}
}

func (s *suite) s3Cases(upload string) []apiCase {
	wrong, unknown := s.admin, s.admin
	wrong.SecretAccessKey = strings.Repeat("x", 40)
	unknown.AccessKeyID = "AKIAIOSFODNN7EXAMPLE"
	forged := harness.Profile{AccessKeyID: "ASIA" + s.admin.AccessKeyID[4:], SecretAccessKey: "x", SessionToken: "Rm9yZ2Vk"}
	put := func(payload, body string, header ...string) spec {
		sp := spec{service: "s3", method: http.MethodPut, path: "/bad-objects/k", body: body, payload: payload, header: map[string]string{}}
		for i := 0; i+1 < len(header); i += 2 {
			sp.header[header[i]] = header[i+1]
		}
		return sp
	}
	document := func(method, path, body string) spec {
		return spec{service: "s3", method: method, path: "/bad-objects" + path, body: body}
	}
	get := func(sp spec) spec {
		sp.service, sp.method = "s3", http.MethodGet
		if sp.path == "" {
			sp.path = "/bad-objects"
		}
		return sp
	}
	const (
		unsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
		signed          = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
		decoded         = "X-Amz-Decoded-Content-Length"
		trailer         = "X-Amz-Trailer"
		crc             = "x-amz-checksum-crc32"
		malformed       = "^The XML you provided was not well-formed or did not validate against our published schema$"
	)
	deep := strings.Repeat("<a>", 20_000)
	entities := `<!DOCTYPE x [<!ENTITY a "` + strings.Repeat("b", 1000) + `"><!ENTITY c "&a;&a;&a;&a;&a;&a;&a;&a;">]><Delete><Object><Key>&c;</Key></Object></Delete>`
	return []apiCase{
		{"a chunk that ends early", put(unsignedTrailer, "5\r\nhel", decoded, "5", trailer, crc), 400, "IncompleteBody", ".", "IncompleteBody"},
		{"a chunk length that is no number", put(unsignedTrailer, "zz\r\nhello\r\n0\r\n\r\n", decoded, "5", trailer, crc), 400, "IncompleteBody", ".", "IncompleteBody"},
		{"a chunk of 2^62 bytes", put(unsignedTrailer, "3fffffffffffffff\r\nhello", decoded, "5", trailer, crc), 400, "IncompleteBody", ".", "IncompleteBody"},
		{"a chunk without a signature", put(signed, "5\r\nhello\r\n0\r\n\r\n", decoded, "5"), 400, "IncompleteBody", ".", "IncompleteBody"},
		{"a chunk with a wrong signature", put(signed, "5;chunk-signature="+strings.Repeat("0", 64)+"\r\nhello\r\n0;chunk-signature="+strings.Repeat("0", 64)+"\r\n\r\n", decoded, "5"), 403, "SignatureDoesNotMatch", ".", "SignatureDoesNotMatch"},
		{"a trailer with a wrong checksum", put(unsignedTrailer, "5\r\nhello\r\n0\r\n"+crc+":AAAAAA==\r\n\r\n", decoded, "5", trailer, crc), 400, "BadDigest", ".", "BadDigest"},
		{"less than the decoded length", put(unsignedTrailer, "5\r\nhello\r\n0\r\n"+crc+":NhCmhg==\r\n\r\n", decoded, "9", trailer, crc), 400, "IncompleteBody", ".", "IncompleteBody"},
		{"more than the decoded length", put(unsignedTrailer, "5\r\nhello\r\n0\r\n"+crc+":NhCmhg==\r\n\r\n", decoded, "2", trailer, crc), 400, "IncompleteBody", ".", "IncompleteBody"},
		{"no decoded length", put(unsignedTrailer, "0\r\n\r\n", trailer, crc), 411, "MissingContentLength", ".", "MissingContentLength"},
		{"a body that is not what was signed", put(strings.Repeat("0", 64), "hello"), 400, "XAmzContentSHA256Mismatch", ".", "XAmzContentSHA256Mismatch"},
		{"a hash that is none", put("nonsense", "hello"), 400, "InvalidArgument", ".", "InvalidArgument"},
		{"a wrong MD5", put("UNSIGNED-PAYLOAD", "hello", "Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA=="), 400, "BadDigest", ".", "BadDigest"},
		{"an MD5 that is none", put("UNSIGNED-PAYLOAD", "hello", "Content-MD5", "x"), 400, "InvalidDigest", ".", "InvalidDigest"},
		{"a declared terabyte", func() spec {
			sp := put("UNSIGNED-PAYLOAD", "hello")
			sp.header["X-Amz-Copy-Source-Range"] = "bytes=0-1"
			sp.path = "/bad-objects/" + strings.Repeat("k", 1025)
			return sp
		}(), 400, "KeyTooLongError", "^Your key is too long$", ""},

		{"half a DeleteObjects", document(http.MethodPost, "?delete", "<Delete><Object><Key>a"), 400, "MalformedXML", malformed, "MalformedXML"},
		{"a DeleteObjects without keys", document(http.MethodPost, "?delete", "<Delete></Delete>"), 400, "MalformedXML", malformed, "MalformedXML"},
		{"a DeleteObjects that is no XML", document(http.MethodPost, "?delete", "\x00\x01\x02"), 400, "MalformedXML", malformed, "MalformedXML"},
		{"deep XML", document(http.MethodPost, "?delete", deep), 400, "MalformedXML", malformed, "MalformedXML"},
		{"entities", document(http.MethodPost, "?delete", entities), 400, "MalformedXML", malformed, "MalformedXML"},
		{"tags that are no XML", document(http.MethodPut, "?tagging", "<Tagging"), 400, "MalformedXML", malformed, "MalformedXML"},
		{"parts that are no XML", document(http.MethodPost, "/parts?uploadId="+upload, "<CompleteMultipartUpload><Part>"), 400, "MalformedXML", malformed, "MalformedXML"},
		{"a bucket's place that is no XML", spec{service: "s3", method: http.MethodPut, path: "/bad-place", body: "<CreateBucketConfiguration><Loc"}, 400, "MalformedXML", malformed, "MalformedXML"},
		{"a policy that is no JSON", document(http.MethodPut, "?policy", `{"Version":`), 400, "MalformedPolicy", ".", "MalformedPolicy"},
		{"an upload that does not exist", document(http.MethodPost, "/other?uploadId=nonsense", "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>"), 404, "NoSuchUpload", ".", "NoSuchUpload"},

		{"a broken escape", get(spec{after: func(r *http.Request) { r.URL.RawQuery = "prefix=%zz" }}), 400, "InvalidURI", ".", ""},
		{"a bucket name that is none", get(spec{path: "/No_Bucket"}), 400, "InvalidBucketName", ".", ""},
		{"a method that is none", spec{service: "s3", method: "FROB", path: "/bad-objects"}, 405, "MethodNotAllowed", ".", ""},
		{"a number of keys that is none", get(spec{path: "/bad-objects?list-type=2&max-keys=x"}), 400, "InvalidArgument", ".", "InvalidArgument"},

		{"a wrong secret", get(spec{profile: &wrong}), 403, "SignatureDoesNotMatch", "^The request signature we calculated does not match the signature you provided\\. Check your key and signing method\\.$", "SignatureDoesNotMatch"},
		{"an unknown key", get(spec{profile: &unknown}), 403, "InvalidAccessKeyId", "^The AWS Access Key Id you provided does not exist in our records\\.$", ""},
		{"a forged token", get(spec{profile: &forged}), 400, "InvalidToken", `^The provided token is malformed or otherwise invalid\.$`, ""},
		{"a late clock", get(spec{at: time.Now().Add(-time.Hour)}), 403, "RequestTimeTooSkewed", `^The difference between the request time and the current time is too large\.$`, "RequestTimeTooSkewed"},
		{"a broken presigned query", get(spec{after: func(r *http.Request) {
			r.Header.Del("Authorization")
			r.URL.RawQuery = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=x"
		}}), 400, "AuthorizationQueryParametersError", ".", ""},
	}
}
