package web

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/pg-reliability/pg_reliability_exporter/internal/metric"
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
	memory   bytes.Buffer
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

// alone is what was compressed by itself.
type alone struct {
	compressed []byte
	checksum   uint32 // of the text
	size       uint32 // of the text, modulo 2^32
	shift      uint32 // see powerOf
}

// WriteAlone implements metric.Compressor.
func (z *gzipWriter) WriteAlone(texts ...[]byte) (metric.Compressed, error) {
	if err := z.setApart(); err != nil {
		return nil, err
	}
	z.memory.Reset()
	z.flate.Reset(&z.memory)
	var a alone
	for _, text := range texts {
		a.checksum = crc32.Update(a.checksum, crc32.IEEETable, text)
		a.size += uint32(len(text))
		if _, err := z.flate.Write(text); err != nil {
			return nil, err
		}
	}
	if err := z.flate.Flush(); err != nil {
		return nil, err
	}
	a.compressed, a.shift = bytes.Clone(z.memory.Bytes()), powerOf(a.size)
	return &a, z.WriteAgain(&a)
}

// WriteAgain implements metric.Compressor.
func (z *gzipWriter) WriteAgain(c metric.Compressed) error {
	a, ok := c.(*alone)
	if !ok {
		return fmt.Errorf("%T is not of this compressor", c)
	}
	if err := z.setApart(); err != nil {
		return err
	}
	z.checksum = times(a.shift, z.checksum) ^ a.checksum
	z.size += a.size
	_, err := z.to.Write(a.compressed)
	return err
}

// setApart ends what was compressed so far, so that what follows does not refer to it.
func (z *gzipWriter) setApart() error {
	if z.apart {
		return nil
	}
	z.apart = true
	return z.flate.Flush()
}

func (z *gzipWriter) count(text []byte) {
	z.checksum = crc32.Update(z.checksum, crc32.IEEETable, text)
	z.size += uint32(len(text))
}

// The checksum of two texts in a row is that of the first, multiplied by x to the power of the second's bits, plus that of the second:
// CRC-32 is a remainder of polynomials over two elements, of which a number's highest bit is the factor of 1 and its lowest that of x^31.

// powerOf is x to the power of 8 n, modulo the checksum's polynomial.
func powerOf(n uint32) uint32 {
	const one, byByte = 1 << 31, 1 << 23
	p := uint32(one)
	for square := uint32(byByte); n > 0; n >>= 1 {
		if n&1 == 1 {
			p = times(square, p)
		}
		square = times(square, square)
	}
	return p
}

// times is a product modulo the checksum's polynomial.
func times(a, b uint32) (p uint32) {
	for ; a != 0; a <<= 1 {
		if a>>31 == 1 {
			p ^= b
		}
		if b&1 == 1 {
			b = b>>1 ^ crc32.IEEE
		} else {
			b >>= 1
		}
	}
	return p
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
