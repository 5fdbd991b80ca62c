import t from 'tap'
import { cookieValues } from '../../lib/session/headers.ts'

t.test('every value of a name is found, and no other name\'s', async (t) => {
  for (const [header, values] of [
    ['sid=a', ['a']],
    ['sid=a; sid=b', ['a', 'b']],
    ['sid=a;sid=b;\tsid=c ', ['a', 'b', 'c']],
    ['other=1; sid=a; sidx=2; xsid=3', ['a']],
    ['other="x; sid=planted"; sid=a', ['planted"', 'a']],
    [' sid = a ', ['a']],
    ['sid=a=b=c', ['a=b=c']],
    ['sid="a"', ['"a"']],
    ['sid=', ['']],
    ['sid=%41', ['%41']],
    ['SID=a', []],
    ['sid', []],
    ['sid; a=b', []],
    ['', []],
    [';;=;', []],
    ['s%69d=a', []],
    ['__proto__=a', []]
  ] as const) {
    t.strictSame(cookieValues(header, 'sid'), values, header)
  }
})
