"""Makes logistic.json: coefficients of scikit-learn 1.9.1 on a small standardised problem, tolerance of the test 1e-3.

scikit-learn's C is 1 / alpha, with the loss summed over rows and the intercept not penalised.
Run: python logistic.py > logistic.json
"""
import json
import numpy as np
from sklearn.linear_model import LogisticRegression

rng = np.random.default_rng(11)
x = rng.normal(size=(120, 4))
x[:, 3] = 0.6 * x[:, 0] + 0.8 * x[:, 3]
x = np.round((x - x.mean(0)) / x.std(0), 6)
margin = -1.2 + x @ np.array([1.0, -0.7, 0.4, 0.5])
y = (rng.random(120) < 1 / (1 + np.exp(-margin))).astype(int)
fits = []
for alpha in [0.1, 1.0, 10.0, 100.0]:
    model = LogisticRegression(C=1 / alpha, tol=1e-10, max_iter=10_000).fit(x, y)
    fits.append({"alpha": alpha, "intercept": model.intercept_[0], "coefficients": model.coef_[0].tolist()})
print(json.dumps({"x": x.tolist(), "y": y.tolist(), "fits": fits}))
