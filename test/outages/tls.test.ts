import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { Browser } from '../helpers/app.ts'
import { DOWN, post, startService, UP } from '../helpers/outage.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { startRedis, until } from '../helpers/redis.ts'
import { startTlsWire } from '../helpers/tls-wire.ts'

withRealLimits(t)

const run = promisify(execFile)
const folder = await mkdtemp(join(tmpdir(), 'fus-tls-'))
t.teardown(() => rm(folder, { recursive: true }))

/** A certificate that only itself vouches for, for this host; made here, and worth nothing elsewhere. */
async function certificate (name: string): Promise<{ key: string, cert: string }> {
  const [key, cert] = [join(folder, `${name}.key`), join(folder, `${name}.pem`)]
  await run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', key, '-out', cert, '-days', '2', '-subj', `/CN=${name}`, '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'])
  return { key: await readFile(key, 'utf8'), cert: await readFile(cert, 'utf8') }
}

const hasOpenssl = await run('openssl', ['version']).then(() => true, () => false)
const skip = hasOpenssl ? false : 'openssl is not there to make a certificate'

t.test('rediss:// to a server whose own certificate is trusted by name works, also after an outage', { skip }, async (t) => {
  const redis = await startRedis(t)
  const { key, cert } = await certificate('redis')
  const wire = await startTlsWire(t, redis, { key, cert })
  const { app, signIn, said } = await startService(t, { redis: { host: '127.0.0.1', port: wire.port, tls: { ca: cert } } })
  const heard: unknown[] = []
  app.sessions.on('revoked', (event) => heard.push(event))
  const ada = await signIn('ada')
  t.equal((await ada.get('/me')).body, 'ada')
  await wire.cut()
  t.equal((await ada.get('/me')).statusCode, 503)
  await wire.mend()
  await until('service', async () => (await ada.get('/me')).statusCode === 200)
  t.strictSame(said(), [DOWN, UP])
  t.equal((await ada.post('/logout')).statusCode, 204)
  t.equal(wire.plain, 0)
})

t.test('to a server that nobody vouches for not one command is sent, and it is said why', { skip }, async (t) => {
  const redis = await startRedis(t)
  await redis.client.config('SET', 'requirepass', 'the-password')
  const [own, other] = [await certificate('redis'), await certificate('other')]
  const wire = await startTlsWire(t, redis, own)
  for (const options of [
    `rediss://:the-password@127.0.0.1:${wire.port}`,
    { host: '127.0.0.1', port: wire.port, password: 'the-password', tls: { ca: other.cert } }
  ]) {
    const { app, said } = await startService(t, { redis: options })
    const [line, ...more] = app.lines.filter(({ level }) => level >= 40)
    t.match(line?.msg, 'Redis does not answer')
    t.match((line?.err as { message: string }).message, /self-signed certificate/)
    t.strictSame(more, [])
    const { statusCode, setCookies } = await post(new Browser(app), 'ada')
    t.strictSame([statusCode, setCookies], [503, []])
    t.equal((await app.inject({ url: '/public' })).statusCode, 200)
    t.strictSame(said().slice(1), [], 'once')
    t.notMatch(JSON.stringify(app.lines), 'the-password')
    await app.close()
  }
  t.equal(wire.commands, '', 'no password, nothing')
  t.equal(wire.plain, 0)
})

t.test('a plain connection to a server that wants TLS is an outage, and the other way round', { skip }, async (t) => {
  const redis = await startRedis(t)
  const wire = await startTlsWire(t, redis, await certificate('redis'))
  for (const url of [`redis://127.0.0.1:${wire.port}`, redis.url.replace('redis://', 'rediss://')]) {
    const { app, said } = await startService(t, { redis: url })
    t.equal((await post(new Browser(app), 'ada')).statusCode, 503)
    t.strictSame(said(), ['Redis does not answer: sessions cannot be read until it does'])
    await app.close()
  }
  t.equal(wire.commands, '')
})
