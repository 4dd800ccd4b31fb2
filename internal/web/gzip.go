package web

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
	"io"
)

// gzipWriter compresses a page (RFC 1952) of which parts were compressed for another page before: most samples are the same for minutes,
// and compressing is the larger part of a page's cost. The parts are whole blocks of RFC 1951, none of which is the last one or refers to
// what is before it, so that they can be joined. It implements metric.Compressor.
type gzipWriter struct {
	to       io.Writer
	flate    *flate.Writer // kept from page to page: making one costs more than using it
	apart    bool          // the compressor may refer to nothing that was written so far
	checksum uint32
	size     uint32 // modulo 2^32, as the format wants it
	alone    bytes.Buffer
}

// newGzipWriter compresses with little effort: promhttp's is more than a local network needs.
func newGzipWriter() *gzipWriter {
	f, _ := flate.NewWriter(nil, flate.BestSpeed) // the level is a valid one
	return &gzipWriter{flate: f}
}

// begin begins a page.
func (z *gzipWriter) begin(to io.Writer) error {
	z.to, z.apart, z.checksum, z.size = to, false, 0, 0
	z.flate.Reset(to)
	_, err := to.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255}) // deflate, no name, no time, fastest, unknown system
	return err
}

// Write implements io.Writer.
func (z *gzipWriter) Write(text []byte) (int, error) {
	if z.apart {
		z.flate.Reset(z.to)
		z.apart = false
	}
	z.count(text)
	return z.flate.Write(text)
}

// WriteAlone implements metric.Compressor.
func (z *gzipWriter) WriteAlone(compressed []byte, texts ...[]byte) ([]byte, error) {
	if !z.apart {
		if err := z.flate.Flush(); err != nil {
			return nil, err
		}
		z.apart = true
	}
	if compressed == nil {
		z.alone.Reset()
		z.flate.Reset(&z.alone)
		for _, text := range texts {
			if _, err := z.flate.Write(text); err != nil {
				return nil, err
			}
		}
		if err := z.flate.Flush(); err != nil {
			return nil, err
		}
		compressed = bytes.Clone(z.alone.Bytes())
	}
	for _, text := range texts {
		z.count(text)
	}
	_, err := z.to.Write(compressed)
	return compressed, err
}

func (z *gzipWriter) count(text []byte) {
	z.checksum = crc32.Update(z.checksum, crc32.IEEETable, text)
	z.size += uint32(len(text))
}

// end ends a page.
func (z *gzipWriter) end() error {
	if z.apart {
		z.flate.Reset(z.to)
	}
	if err := z.flate.Close(); err != nil {
		return err
	}
	var tail [8]byte
	binary.LittleEndian.PutUint32(tail[:4], z.checksum)
	binary.LittleEndian.PutUint32(tail[4:], z.size)
	_, err := z.to.Write(tail[:])
	return err
}
