import neostandard from 'neostandard'

export default [
  ...neostandard({ ts: true, ignores: ['dist', '.tap', '.tmp', 'node_modules', 'docs/.vitepress/{cache,dist}'] }),
  {
    rules: {
      // A TypeBox schema and its type have one name.
      '@typescript-eslint/no-redeclare': 'off',
      // `void promise`: what is started here is deliberately not waited for.
      'no-void': ['error', { allowAsStatement: true }]
    }
  },
  { files: ['lib/**'], rules: { '@stylistic/max-len': ['error', { code: 120 }] } }
]
