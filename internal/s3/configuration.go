package s3

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"strconv"
)

func malformed() error {
	return failure(http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
}

// update changes a bucket in the registry.
func (f *Front) update(s *step, status int, change func(*Bucket)) error {
	b, err := f.Registry.change(s.c, s.target.bucket)
	if err != nil {
		return err
	}
	change(b)
	if err := f.Registry.put(s.c, b); err != nil {
		return err
	}
	return s.done(status)
}

// putVersioning turns the storage's versions on or off. Crash story: between
// the storage and the registry, the storage keeps versions and the registry
// does not know, so that they are not synced; the call's record says that its
// outcome is unknown, and making it again sets both.
func (f *Front) putVersioning(s *step) error {
	body, err := s.readBody()
	if err != nil {
		return err
	}
	var v struct {
		XMLName           xml.Name `xml:"VersioningConfiguration"`
		Status, MfaDelete string
	}
	switch err := xml.Unmarshal(body, &v); {
	case err != nil, v.Status != "" && v.Status != "Enabled" && v.Status != "Suspended":
		return malformed()
	case v.Status == "":
		return failure(http.StatusBadRequest, "IllegalVersioningConfigurationException", "The Versioning element must be specified")
	case v.MfaDelete == "Enabled":
		return notOffered()
	}
	b, err := f.Registry.change(s.c, s.target.bucket)
	if err != nil {
		return err
	}
	if b.Lock != nil && v.Status == "Suspended" {
		return failure(http.StatusConflict, "InvalidBucketState", "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.")
	}
	res, err := s.send(s.req.Context(), bytes.NewReader(body), int64(len(body)), nil)
	if err != nil {
		return err
	}
	if err := res.Body.Close(); err != nil {
		return err
	}
	b.Versioned = true
	if err := f.Registry.put(s.c, b); err != nil {
		return err
	}
	if err := f.Store.SyncVersions(); err != nil {
		return err
	}
	return s.done(http.StatusOK)
}

// ownerEnforced is the only ownership offered: there are no ACLs.
const ownerEnforced = "BucketOwnerEnforced"

func (f *Front) getOwnership(s *step) error {
	if s.bucket.NoOwnership {
		return failure(http.StatusNotFound, "OwnershipControlsNotFoundError", "The bucket ownership controls were not found")
	}
	return s.reply(http.StatusOK, "OwnershipControls", "<Rule><ObjectOwnership>"+ownerEnforced+"</ObjectOwnership></Rule>")
}

func (f *Front) putOwnership(s *step) error {
	body, err := s.readBody()
	if err != nil {
		return err
	}
	var o struct {
		XMLName xml.Name                           `xml:"OwnershipControls"`
		Rules   []struct{ ObjectOwnership string } `xml:"Rule"`
	}
	if err := xml.Unmarshal(body, &o); err != nil || len(o.Rules) != 1 {
		return malformed()
	}
	switch o.Rules[0].ObjectOwnership {
	case ownerEnforced:
	case "BucketOwnerPreferred", "ObjectWriter":
		return notOffered()
	default:
		return malformed()
	}
	return f.update(s, http.StatusOK, func(b *Bucket) { b.NoOwnership = false })
}

// deleteOwnership forgets the setting. ACLs stay refused: what a bucket without
// the setting would accept on AWS is not offered here.
func (f *Front) deleteOwnership(s *step) error {
	return f.update(s, http.StatusNoContent, func(b *Bucket) { b.NoOwnership = true })
}

// sseS3 is encryption with keys of the storage's own, which every bucket of
// S3's has since January 2023. What it amounts to here is the business of the
// storage behind: the embedded one leaves it to the disk (docs/SECURITY.md).
const sseS3 = "AES256"

func (f *Front) getEncryption(s *step) error {
	return s.reply(http.StatusOK, "ServerSideEncryptionConfiguration", "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>"+sseS3+
		"</SSEAlgorithm></ApplyServerSideEncryptionByDefault><BucketKeyEnabled>"+strconv.FormatBool(s.bucket.BucketKey)+"</BucketKeyEnabled></Rule>")
}

func (f *Front) putEncryption(s *step) error {
	body, err := s.readBody()
	if err != nil {
		return err
	}
	var e struct {
		XMLName xml.Name `xml:"ServerSideEncryptionConfiguration"`
		Rules   []struct {
			Default struct {
				SSEAlgorithm, KMSMasterKeyID string
			} `xml:"ApplyServerSideEncryptionByDefault"`
			BucketKeyEnabled bool
		} `xml:"Rule"`
	}
	if err := xml.Unmarshal(body, &e); err != nil || len(e.Rules) != 1 {
		return malformed()
	}
	rule := e.Rules[0]
	switch rule.Default.SSEAlgorithm {
	case sseS3:
		if rule.Default.KMSMasterKeyID != "" {
			return failure(http.StatusBadRequest, "InvalidArgument", "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse")
		}
	case "aws:kms", "aws:kms:dsse":
		return notOffered()
	default:
		return malformed()
	}
	return f.update(s, http.StatusOK, func(b *Bucket) { b.BucketKey = rule.BucketKeyEnabled })
}

func (f *Front) deleteEncryption(s *step) error {
	return f.update(s, http.StatusNoContent, func(b *Bucket) { b.BucketKey = false })
}

// checkEncryption refuses the encryption that a request asks for unless it is
// the one there is. Keys of KMS exist nowhere but in KMS.
func checkEncryption(h http.Header) error {
	key := h.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id")
	switch h.Get("X-Amz-Server-Side-Encryption") {
	case "", sseS3:
		if key != "" {
			return failure(http.StatusBadRequest, "InvalidArgument", "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms")
		}
		return nil
	case "aws:kms", "aws:kms:dsse":
		if key != "" {
			return failure(http.StatusBadRequest, "KMS.NotFoundException", "Key '"+key+"' does not exist")
		}
		return notOffered()
	}
	return failure(http.StatusBadRequest, "InvalidEncryptionAlgorithmError", "The encryption request that you specified is not valid. The valid value is AES256.")
}

// encrypted says in an answer about an object that the bucket's encryption was
// applied, as S3 does for every object.
func (s *step) encrypted() {
	const header = "X-Amz-Server-Side-Encryption"
	switch s.target.op.name {
	case "GetObject", "HeadObject", "PutObject", "CopyObject", "CreateMultipartUpload", "UploadPart", "UploadPartCopy", "CompleteMultipartUpload":
		if s.res.Header.Get(header) == "" {
			s.res.Header.Set(header, sseS3)
		}
	}
}

// encryptionApplied is CloudTrail's word for the encryption of what a request
// wrote.
func (s *step) encryptionApplied() string {
	switch s.target.op.name {
	case "PutObject", "CopyObject", "CreateMultipartUpload":
		if s.req.Header.Get("X-Amz-Server-Side-Encryption") != "" {
			return "SSE_S3"
		}
		return "Default_SSE_S3"
	}
	return ""
}
