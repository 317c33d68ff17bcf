package s3

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"spoor/internal/objects"
)

// Limits of names and requests (S3 user guide, "Bucket naming rules" and
// "Creating object key names").
const (
	maxKey      = 1024    // bytes of a key
	maxXML      = 2 << 20 // bytes of an XML or policy body
	maxPutBytes = 5 << 30 // bytes of one PUT
	maxParts    = 10_000  // parts of an upload
)

// operation is one operation of S3.
type operation struct {
	name   string // AWS's name, and the record's unless event is set
	event  string // CloudTrail's name where it differs
	action string // the IAM action
	read   bool
	object bool // acts on objects: a data event
	// local handles the operation in the front; nil forwards it, unless refused.
	local func(f *Front, s *step) error
	// refused operations are S3's that this server does not offer.
	refused bool
	// version is the action that the operation needs when it names a version;
	// empty when that is the same one.
	version string
	// query lists the parameters that the storage may see. All others stop
	// here: what the storage made of them was not asked for.
	query string
}

func (o *operation) eventName() string {
	if o.event != "" {
		return o.event
	}
	return o.name
}

// target is what a request is about.
type target struct {
	op     *operation
	bucket string
	key    string // decoded
	query  url.Values
}

// subresource is the query parameter that selects an operation, in the order
// in which S3 looks for it.
var bucketSubresources = []string{"policyStatus", "policy", "acl", "versioning", "location", "lifecycle", "cors", "encryption",
	"tagging", "website", "replication", "requestPayment", "accelerate", "logging", "notification", "object-lock",
	"ownershipControls", "publicAccessBlock", "uploads", "versions", "delete", "inventory", "analytics", "metrics",
	"intelligent-tiering", "abac", "metadataTable", "metadataConfiguration", "metadataInventoryTable", "metadataJournalTable", "session"}

var objectSubresources = []string{"acl", "tagging", "retention", "legal-hold", "attributes", "torrent", "restore", "select", "uploads", "uploadId", "renameObject", "encryption"}

// operations is S3's table, by "METHOD level subresource".
var operations = makeOperations()

func makeOperations() map[string]*operation {
	m := map[string]*operation{}
	add := func(key string, o operation) { m[key] = &o }
	const read = true
	service := func(key, name, action string, local func(*Front, *step) error) {
		add(key, operation{name: name, action: action, read: true, local: local})
	}
	service("GET service ", "ListBuckets", "s3:ListAllMyBuckets", (*Front).listBuckets)
	bucket := func(method, sub, name, action string, reads bool, local func(*Front, *step) error) {
		add(method+" bucket "+sub, operation{name: name, action: action, read: reads, local: local})
	}
	bucket("PUT", "", "CreateBucket", "s3:CreateBucket", !read, (*Front).createBucket)
	bucket("DELETE", "", "DeleteBucket", "s3:DeleteBucket", !read, (*Front).deleteBucket)
	bucket("HEAD", "", "HeadBucket", "s3:ListBucket", read, (*Front).headBucket)
	bucket("GET", "location", "GetBucketLocation", "s3:GetBucketLocation", read, (*Front).getLocation)
	bucket("GET", "policy", "GetBucketPolicy", "s3:GetBucketPolicy", read, (*Front).getPolicy)
	bucket("PUT", "policy", "PutBucketPolicy", "s3:PutBucketPolicy", !read, (*Front).putPolicy)
	bucket("DELETE", "policy", "DeleteBucketPolicy", "s3:DeleteBucketPolicy", !read, (*Front).deletePolicy)
	bucket("GET", "policyStatus", "GetBucketPolicyStatus", "s3:GetBucketPolicyStatus", read, (*Front).getPolicyStatus)
	bucket("GET", "acl", "GetBucketAcl", "s3:GetBucketAcl", read, (*Front).getACL)
	bucket("PUT", "acl", "PutBucketAcl", "s3:PutBucketAcl", !read, (*Front).putACL)
	bucket("GET", "versioning", "GetBucketVersioning", "s3:GetBucketVersioning", read, nil)
	bucket("PUT", "versioning", "PutBucketVersioning", "s3:PutBucketVersioning", !read, (*Front).putVersioning)
	bucket("GET", "encryption", "GetBucketEncryption", "s3:GetEncryptionConfiguration", read, (*Front).getEncryption)
	bucket("PUT", "encryption", "PutBucketEncryption", "s3:PutEncryptionConfiguration", !read, (*Front).putEncryption)
	bucket("DELETE", "encryption", "DeleteBucketEncryption", "s3:PutEncryptionConfiguration", !read, (*Front).deleteEncryption)
	bucket("GET", "tagging", "GetBucketTagging", "s3:GetBucketTagging", read, (*Front).getTagging)
	bucket("PUT", "tagging", "PutBucketTagging", "s3:PutBucketTagging", !read, (*Front).putTagging)
	bucket("DELETE", "tagging", "DeleteBucketTagging", "s3:PutBucketTagging", !read, (*Front).deleteTagging)
	bucket("GET", "requestPayment", "GetBucketRequestPayment", "s3:GetBucketRequestPayment", read, (*Front).getRequestPayment)
	bucket("GET", "accelerate", "GetBucketAccelerateConfiguration", "s3:GetAccelerateConfiguration", read, constantXML("AccelerateConfiguration", ""))
	bucket("GET", "logging", "GetBucketLogging", "s3:GetBucketLogging", read, constantXML("BucketLoggingStatus", ""))
	bucket("GET", "notification", "GetBucketNotification", "s3:GetBucketNotification", read, constantXML("NotificationConfiguration", ""))
	bucket("GET", "ownershipControls", "GetBucketOwnershipControls", "s3:GetBucketOwnershipControls", read, (*Front).getOwnership)
	bucket("DELETE", "ownershipControls", "DeleteBucketOwnershipControls", "s3:PutBucketOwnershipControls", !read, (*Front).deleteOwnership)
	bucket("PUT", "ownershipControls", "PutBucketOwnershipControls", "s3:PutBucketOwnershipControls", !read, (*Front).putOwnership)
	bucket("GET", "publicAccessBlock", "GetBucketPublicAccessBlock", "s3:GetBucketPublicAccessBlock", read, (*Front).getPublicAccessBlock)
	bucket("PUT", "publicAccessBlock", "PutBucketPublicAccessBlock", "s3:PutBucketPublicAccessBlock", !read, (*Front).putPublicAccessBlock)
	bucket("DELETE", "publicAccessBlock", "DeleteBucketPublicAccessBlock", "s3:PutBucketPublicAccessBlock", !read, (*Front).deletePublicAccessBlock)
	for sub, o := range map[string]struct{ name, action, code, message string }{
		"lifecycle":   {"GetBucketLifecycle", "s3:GetLifecycleConfiguration", "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"},
		"cors":        {"GetBucketCors", "s3:GetBucketCORS", "NoSuchCORSConfiguration", "The CORS configuration does not exist"},
		"website":     {"GetBucketWebsite", "s3:GetBucketWebsite", "NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration"},
		"replication": {"GetBucketReplication", "s3:GetReplicationConfiguration", "ReplicationConfigurationNotFoundError", "The replication configuration was not found"},
	} {
		bucket("GET", sub, o.name, o.action, read, notConfigured(o.code, o.message))
	}
	for _, o := range []struct{ method, sub, name, action string }{
		{"PUT", "lifecycle", "PutBucketLifecycle", "s3:PutLifecycleConfiguration"},
		{"DELETE", "lifecycle", "DeleteBucketLifecycle", "s3:PutLifecycleConfiguration"}, {"PUT", "cors", "PutBucketCors", "s3:PutBucketCORS"},
		{"DELETE", "cors", "DeleteBucketCors", "s3:PutBucketCORS"}, {"PUT", "website", "PutBucketWebsite", "s3:PutBucketWebsite"},
		{"DELETE", "website", "DeleteBucketWebsite", "s3:DeleteBucketWebsite"}, {"PUT", "replication", "PutBucketReplication", "s3:PutReplicationConfiguration"},
		{"DELETE", "replication", "DeleteBucketReplication", "s3:PutReplicationConfiguration"}, {"PUT", "requestPayment", "PutBucketRequestPayment", "s3:PutBucketRequestPayment"},
		{"PUT", "accelerate", "PutBucketAccelerateConfiguration", "s3:PutAccelerateConfiguration"}, {"PUT", "logging", "PutBucketLogging", "s3:PutBucketLogging"},
		{"PUT", "notification", "PutBucketNotification", "s3:PutBucketNotification"},
		{"GET", "inventory", "GetBucketInventoryConfiguration", "s3:GetInventoryConfiguration"}, {"GET", "analytics", "GetBucketAnalyticsConfiguration", "s3:GetAnalyticsConfiguration"},
		{"GET", "metrics", "GetBucketMetricsConfiguration", "s3:GetMetricsConfiguration"}, {"GET", "intelligent-tiering", "GetBucketIntelligentTieringConfiguration", "s3:GetIntelligentTieringConfiguration"},
	} {
		add(o.method+" bucket "+o.sub, operation{name: o.name, action: o.action, read: o.method == "GET", refused: true})
	}
	add("GET bucket object-lock", operation{name: "GetObjectLockConfiguration", event: "GetBucketObjectLockConfiguration", action: "s3:GetBucketObjectLockConfiguration", read: true, local: (*Front).getLock})
	add("PUT bucket object-lock", operation{name: "PutObjectLockConfiguration", event: "PutBucketObjectLockConfiguration", action: "s3:PutBucketObjectLockConfiguration", local: (*Front).putLock, query: "object-lock"})
	object := func(key, name, action string, reads bool, version, query string) {
		add(key, operation{name: name, action: action, read: reads, object: true, version: version, query: query})
	}
	const listing = "prefix delimiter max-keys encoding-type "
	const response = "response-cache-control response-content-disposition response-content-encoding response-content-language response-content-type response-expires "
	m["GET bucket versioning"].query, m["PUT bucket versioning"].query = "versioning", "versioning"
	object("GET bucket ", "ListObjects", "s3:ListBucket", read, "", listing+"list-type marker start-after continuation-token fetch-owner")
	object("GET bucket versions", "ListObjectVersions", "s3:ListBucketVersions", read, "", listing+"versions key-marker version-id-marker")
	object("GET bucket uploads", "ListMultipartUploads", "s3:ListBucketMultipartUploads", read, "", "uploads prefix delimiter encoding-type key-marker upload-id-marker max-uploads")
	object("POST bucket delete", "DeleteObjects", "s3:DeleteObject", !read, "", "delete")
	object("GET object ", "GetObject", "s3:GetObject", read, "s3:GetObjectVersion", response+"versionId partNumber")
	object("HEAD object ", "HeadObject", "s3:GetObject", read, "s3:GetObjectVersion", response+"versionId partNumber")
	object("PUT object ", "PutObject", "s3:PutObject", !read, "", "")
	object("DELETE object ", "DeleteObject", "s3:DeleteObject", !read, "s3:DeleteObjectVersion", "versionId")
	object("COPY object ", "CopyObject", "s3:PutObject", !read, "", "")
	object("POST object uploads", "CreateMultipartUpload", "s3:PutObject", !read, "", "uploads")
	object("PUT object uploadId", "UploadPart", "s3:PutObject", !read, "", "uploadId partNumber")
	object("COPY object uploadId", "UploadPartCopy", "s3:PutObject", !read, "", "uploadId partNumber")
	object("POST object uploadId", "CompleteMultipartUpload", "s3:PutObject", !read, "", "uploadId")
	object("DELETE object uploadId", "AbortMultipartUpload", "s3:AbortMultipartUpload", !read, "", "uploadId")
	object("GET object uploadId", "ListParts", "s3:ListMultipartUploadParts", read, "", "uploadId max-parts part-number-marker encoding-type")
	object("GET object tagging", "GetObjectTagging", "s3:GetObjectTagging", read, "s3:GetObjectVersionTagging", "tagging versionId")
	object("PUT object tagging", "PutObjectTagging", "s3:PutObjectTagging", !read, "s3:PutObjectVersionTagging", "tagging versionId")
	object("DELETE object tagging", "DeleteObjectTagging", "s3:DeleteObjectTagging", !read, "s3:DeleteObjectVersionTagging", "tagging versionId")
	object("GET object retention", "GetObjectRetention", "s3:GetObjectRetention", read, "", "retention versionId")
	object("PUT object retention", "PutObjectRetention", "s3:PutObjectRetention", !read, "", "retention versionId")
	object("GET object legal-hold", "GetObjectLegalHold", "s3:GetObjectLegalHold", read, "", "legal-hold versionId")
	object("PUT object legal-hold", "PutObjectLegalHold", "s3:PutObjectLegalHold", !read, "", "legal-hold versionId")
	object("GET object attributes", "GetObjectAttributes", "s3:GetObjectAttributes", read, "s3:GetObjectVersionAttributes", "attributes versionId")
	add("GET object acl", operation{name: "GetObjectAcl", action: "s3:GetObjectAcl", version: "s3:GetObjectVersionAcl", read: true, object: true, local: (*Front).getACL})
	add("PUT object acl", operation{name: "PutObjectAcl", action: "s3:PutObjectAcl", version: "s3:PutObjectVersionAcl", object: true, local: (*Front).putACL})
	for _, o := range []struct{ key, name, action string }{
		{"GET object torrent", "GetObjectTorrent", "s3:GetObject"}, {"POST object restore", "RestoreObject", "s3:RestoreObject"},
		{"POST object select", "SelectObjectContent", "s3:GetObject"}, {"PUT object renameObject", "RenameObject", "s3:PutObject"},
	} {
		add(o.key, operation{name: o.name, action: o.action, read: strings.HasPrefix(o.key, "GET"), object: true, refused: true})
	}
	return m
}

// parseTarget finds a request's operation. op is nil for a combination that S3
// does not have.
func parseTarget(r *http.Request) (target, error) {
	t := target{}
	path := r.URL.Path
	t.bucket = virtualHost(r.Host)
	if t.bucket == "" {
		t.bucket, t.key, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	} else {
		t.key = strings.TrimPrefix(path, "/")
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return t, failure(http.StatusBadRequest, "InvalidURI", "Couldn't parse the specified URI.")
	}
	t.query = q
	if err := checkKey(t.key); err != nil {
		return t, err
	}
	method, level, subs := r.Method, "object", objectSubresources
	switch {
	case t.bucket == "":
		level, subs = "service", nil
	case t.key == "":
		level, subs = "bucket", bucketSubresources
	}
	if method == http.MethodPut && level == "object" && r.Header.Get("X-Amz-Copy-Source") != "" {
		method = "COPY"
	}
	sub := ""
	for _, s := range subs {
		if _, ok := q[s]; ok {
			sub = s
			break
		}
	}
	t.op = operations[method+" "+level+" "+sub]
	if t.bucket != "" && level != "service" && !(t.op != nil && t.op.name == "CreateBucket") && !validBucket(t.bucket) {
		return t, failure(http.StatusBadRequest, "InvalidBucketName", "The specified bucket is not valid.")
	}
	return t, t.checkQuery()
}

// checkKey refuses keys that the storage would take for another object's.
func checkKey(key string) error {
	switch {
	case len(key) > maxKey:
		return failure(http.StatusBadRequest, "KeyTooLongError", "Your key is too long")
	case key != "" && !objects.ValidKey(key):
		return failure(http.StatusBadRequest, "InvalidURI", "Couldn't parse the specified URI.")
	}
	return nil
}

// checkQuery refuses what a well-formed request of the operation cannot say.
func (t *target) checkQuery() error {
	if t.op == nil {
		return nil
	}
	if v := t.query.Get("versionId"); t.query.Has("versionId") && !identifier(v) {
		return failure(http.StatusBadRequest, "InvalidArgument", "Invalid version id specified")
	}
	if t.query.Has("uploadId") && !identifier(t.query.Get("uploadId")) {
		return failure(http.StatusNotFound, "NoSuchUpload", "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.")
	}
	if t.op.name == "UploadPart" || t.op.name == "UploadPartCopy" {
		if n, err := strconv.Atoi(t.query.Get("partNumber")); err != nil || n < 1 || n > maxParts {
			return failure(http.StatusBadRequest, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
		}
	}
	return nil
}

// identifier reports whether s can be a version's or an upload's: one name, no
// path.
func identifier(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~+=", c) >= 0) {
			return false
		}
	}
	return s != "" && strings.Trim(s, ".") != ""
}

// virtualHost is the bucket in a host name such as bucket.s3.localhost, "" for
// a path-style request.
func virtualHost(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	host = strings.ToLower(host)
	for _, suffix := range []string{".s3.localhost", ".s3.amazonaws.com"} {
		if b, ok := strings.CutSuffix(host, suffix); ok {
			return b
		}
	}
	if b, rest, ok := strings.Cut(host, ".s3."); ok && strings.HasSuffix(rest, ".amazonaws.com") && !strings.Contains(strings.TrimSuffix(rest, ".amazonaws.com"), ".") {
		return b
	}
	if b, ok := strings.CutSuffix(host, ".localhost"); ok && b != "s3" {
		return b
	}
	return ""
}

// validBucket applies S3's rules for names of general purpose buckets.
func validBucket(name string) bool {
	if len(name) < 3 || len(name) > 63 || strings.Contains(name, "..") {
		return false
	}
	for i := range len(name) {
		c := name[i]
		edge := i == 0 || i == len(name)-1
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || !edge && (c == '-' || c == '.')) {
			return false
		}
	}
	if strings.HasPrefix(name, "xn--") || strings.HasSuffix(name, "-s3alias") {
		return false
	}
	return strings.Trim(name, "0123456789.") != "" || strings.Count(name, ".") != 3
}
