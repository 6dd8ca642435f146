/** ECDSA-Sig-Value (RFC 3279, 2.2.3) of r and s. */
export function ecdsaDer(raw: Uint8Array): Buffer {
  const half = raw.byteLength / 2
  const parts = [integer(raw.subarray(0, half)), integer(raw.subarray(half))]
  const body = Buffer.concat(parts)
  return Buffer.concat([Buffer.from([0x30, body.byteLength]), body])
}

function integer(bytes: Uint8Array): Buffer {
  let start = 0
  while (start < bytes.byteLength - 1 && bytes[start] === 0) start++
  const digits = bytes.subarray(start)
  const sign = (digits[0] ?? 0) > 0x7f ? [0] : []
  const length = digits.byteLength + sign.length
  return Buffer.concat([Buffer.from([0x02, length, ...sign]), digits])
}
