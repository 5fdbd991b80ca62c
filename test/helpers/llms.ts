// Writes llms.txt, for programs that read the package's documentation: npm run docs
import { writeFileSync } from 'node:fs'
import { llmsIndex } from '../../docs/.vitepress/llms.ts'
import { root } from './process.ts'

writeFileSync(`${root}llms.txt`, llmsIndex((path) => `docs/${path}`))
