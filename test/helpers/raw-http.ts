import { connect } from 'node:net'

/** What a server answers to bytes that no HTTP client would send. */
export async function exchange (port: number, request: Buffer): Promise<{ status: number, head: string, body: string }> {
  const chunks: Buffer[] = []
  const socket = connect(port, '127.0.0.1')
  await new Promise<void>((resolve) => {
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    // A server that has said no may close before it has read all.
    socket.on('error', () => {})
    socket.on('close', () => resolve())
    socket.write(request)
  })
  const [head = '', ...body] = Buffer.concat(chunks).toString('latin1').split('\r\n\r\n')
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1] ?? 0), head, body: body.join('\r\n\r\n') }
}
