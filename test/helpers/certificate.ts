import { execFile } from 'node:child_process'
import { createHash, createPublicKey } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface Certificate {
  key: string
  cert: string
  /** By which a browser can be told to take it: SHA-256 of its public key, in base64. */
  fingerprint: string
}

/** A certificate that only itself vouches for; made here by openssl, and worth nothing elsewhere. */
export async function selfSigned (hosts: string[]): Promise<Certificate> {
  const folder = await mkdtemp(join(tmpdir(), 'fus-tls-'))
  try {
    const [keyFile, certFile] = [join(folder, 'key'), join(folder, 'cert')]
    const names = hosts.map((host) => `DNS:${host}`).join(',')
    await run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', keyFile, '-out', certFile, '-days', '2', '-subj', `/CN=${hosts[0]}`, '-addext', `subjectAltName=${names}`])
    const [key, cert] = [await readFile(keyFile, 'utf8'), await readFile(certFile, 'utf8')]
    const publicKey = createPublicKey(cert).export({ type: 'spki', format: 'der' })
    return { key, cert, fingerprint: createHash('sha256').update(publicKey).digest('base64') }
  } finally {
    await rm(folder, { recursive: true })
  }
}
