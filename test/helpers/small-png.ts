import { crc32, deflateSync, inflateSync } from 'node:zlib'

const SIGNATURE = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10])
const MAX_COLORS = 256

/**
 * Makes the picture of a page small: a byte for each pixel, in place of three. Of more than 256 colours the rarest, at
 * the edges of letters, become the nearest of the others.
 */
export function smallPng (png: Buffer): Buffer {
  const { width, height, channels, pixels } = decode(png)
  const colors: number[] = []
  for (let at = 0; at < pixels.length; at += channels) colors.push(pixels.readUIntBE(at, 3))
  const counts = new Map<number, number>()
  for (const color of colors) counts.set(color, (counts.get(color) ?? 0) + 1)
  const byCount = [...counts].sort(([, one], [, other]) => other - one).map(([color]) => color)
  const palette = byCount.slice(0, MAX_COLORS)
  const indices = new Map(byCount.map((color, index) => [color, index < MAX_COLORS ? index : nearest(color, palette)]))
  const lines = Buffer.alloc((width + 1) * height)
  for (const [at, color] of colors.entries()) {
    lines[Math.floor(at / width) * (width + 1) + 1 + at % width] = indices.get(color) as number
  }
  const head = Buffer.alloc(13)
  head.writeUInt32BE(width, 0)
  head.writeUInt32BE(height, 4)
  // Eight bits, of a palette.
  head.set([8, 3, 0, 0, 0], 8)
  const entries = Buffer.alloc(palette.length * 3)
  for (const [index, color] of palette.entries()) entries.writeUIntBE(color, index * 3, 3)
  const chunks = [chunk('IHDR', head), chunk('PLTE', entries), chunk('IDAT', deflateSync(lines, { level: 9 })), chunk('IEND')]
  return Buffer.concat([SIGNATURE, ...chunks])
}

/** Returns the index of the colour that is nearest to another. */
function nearest (color: number, palette: number[]): number {
  const distances = palette.map((each) => [16, 8, 0].reduce((sum, shift) => {
    return sum + (((color >> shift) & 255) - ((each >> shift) & 255)) ** 2
  }, 0))
  return distances.indexOf(Math.min(...distances))
}

function chunk (type: string, data = Buffer.alloc(0)): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
  const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)]
  length.writeUInt32BE(data.length)
  check.writeUInt32BE(crc32(body))
  return Buffer.concat([length, body, check])
}

interface Picture { width: number, height: number, channels: number, pixels: Buffer }

/** Decodes what Chromium makes: eight bits each of red, green, blue, and perhaps alpha. */
function decode (png: Buffer): Picture {
  const data: Buffer[] = []
  for (let at = SIGNATURE.length; at < png.length; at += png.readUInt32BE(at) + 12) {
    if (png.toString('latin1', at + 4, at + 8) === 'IDAT') data.push(png.subarray(at + 8, at + 8 + png.readUInt32BE(at)))
  }
  const [width, height, channels] = [png.readUInt32BE(16), png.readUInt32BE(20), png[25] === 6 ? 4 : 3]
  const lines = inflateSync(Buffer.concat(data))
  const length = width * channels
  const pixels = Buffer.alloc(length * height)
  for (let y = 0; y < height; y++) {
    const filter = lines[y * (length + 1)]
    for (let x = 0; x < length; x++) {
      const at = y * length + x
      const left = x < channels ? 0 : pixels[at - channels] as number
      const up = y === 0 ? 0 : pixels[at - length] as number
      const corner = x < channels || y === 0 ? 0 : pixels[at - length - channels] as number
      const guess = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter as number] as number
      pixels[at] = lines[y * (length + 1) + 1 + x] as number + guess
    }
  }
  return { width, height, channels, pixels }
}

/** The predictor of PNG's fourth filter. */
function paeth (left: number, up: number, corner: number): number {
  const [toLeft, toUp, toCorner] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)]
  if (toLeft <= toUp && toLeft <= toCorner) return left
  return toUp <= toCorner ? up : corner
}
